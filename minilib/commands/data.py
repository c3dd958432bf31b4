"""Fetch all data now, for working offline later."""


def arguments(parser):
    pass


def run(options):
    from minilib.lab import data

    for line in (data.HOME / "requirements.txt").read_text().splitlines():
        if "==" in line:
            place = data.fetch(line.split("==")[0])
            size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            print(f"{place.name:<24} {size / 1e6:6.1f} MB")
