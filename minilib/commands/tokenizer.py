"""Train a tokenizer on texts of any size, encode a text to a file of ids, decode one."""

import contextlib
import os
import pathlib
import tempfile
import time


def arguments(parser):
    commands = parser.add_subparsers(
        required=True, dest="action", metavar="train | encode | decode"
    )
    train = commands.add_parser("train", help="learn the tokens of a text")
    about = "files of UTF-8 text; no token crosses from one to the next"
    train.add_argument("text", nargs="+", metavar="TEXT", type=pathlib.Path, help=about)
    about = "tokens in all, special ones included (default: 8192)"
    train.add_argument("--size", type=int, default=8192, help=about)
    about = "gpt2 (default), cl100k, llama3, qwen2, o200k, tekken or a regular expression"
    train.add_argument("--pattern", default="gpt2", help=about)
    about = "a special token, such as '<|endoftext|>'; more than one: repeat the option"
    train.add_argument("--special", action="append", default=[], metavar="MARK", help=about)
    about = "tokenizer.json, which HF reads, *.tiktoken or *.tekken.json (default: tokenizer.json)"
    train.add_argument("--out", type=pathlib.Path, default="tokenizer.json", help=about)
    encode = commands.add_parser("encode", help="a text to a .npy file of ids")
    _tokenizer(encode)
    encode.add_argument("text", metavar="TEXT", type=pathlib.Path, help="a file of text")
    about = "look for this special token, or for 'all'; elsewhere its text is ordinary text"
    encode.add_argument("--special", action="append", default=[], metavar="MARK", help=about)
    about = "file of ids, uint16 or uint32, that lab.data.windows reads (default: TEXT.npy)"
    encode.add_argument("--out", type=pathlib.Path, metavar="IDS.npy", help=about)
    decode = commands.add_parser("decode", help="a .npy file of ids to the text")
    _tokenizer(decode)
    decode.add_argument("ids", metavar="IDS.npy", type=pathlib.Path)
    decode.add_argument("--out", type=pathlib.Path, required=True, metavar="TEXT")
    for one in (train, encode, decode):
        one.add_argument("--overwrite", action="store_true", help="replace what is at --out")


def _tokenizer(parser):
    about = "a file that minilib.tokenizer.Tokenizer.load reads"
    parser.add_argument("tokenizer", metavar="TOKENIZER", type=pathlib.Path, help=about)
    parser.add_argument("--pattern", help="for files that hold no pattern")


def run(options):
    from minilib.lab.checkpoint import refuse_unwritable

    if options.action == "encode" and options.out is None:
        options.out = options.text.with_name(options.text.name + ".npy")
    if options.action == "encode" and options.out.suffix != ".npy":
        raise ValueError(f"--out must be a file *.npy, got {str(options.out)!r}")
    if options.out.is_file() and not options.overwrite:
        raise ValueError(f"{str(options.out)!r} is there already: --overwrite replaces it")
    refuse_unwritable(options.out, "--out")
    start = time.perf_counter()
    found = {"train": _train, "encode": _encode, "decode": _decode}[options.action](options)
    size = options.out.stat().st_size / 1e6
    print(f"{found}; wrote {options.out} ({size:,.1f} MB, {time.perf_counter() - start:.0f} s)")


def _train(options):
    from minilib.tokenizer import Tokenizer

    how = {"pattern": options.pattern, "specials": options.special}
    with tempfile.TemporaryDirectory() as folder:  # what cannot be saved is refused before the work
        nothing = Tokenizer.train("", options.size, **how)
        nothing.save(pathlib.Path(folder) / options.out.name)
    with contextlib.ExitStack() as files:
        texts = [files.enter_context(_reading(path)) for path in options.text]
        learned = Tokenizer.train(texts, options.size, **how)
    learned.save(options.out)
    return learned


def _encode(options):
    from minilib.lab.checkpoint import write_whole
    from minilib.lab.ids import write_ids

    tokenizer = _load(options)
    special = "all" if options.special == ["all"] else options.special
    count = 0
    with _reading(options.text) as file:
        ids = tokenizer.encode_stream(file, special)

        def write(path):
            nonlocal count
            count = write_ids(path, ids, tokenizer.vocab_size)

        write_whole(options.out, write)
    rate = options.text.stat().st_size / max(count, 1)
    return f"{count:,} ids, {rate:.2f} bytes each"


def _decode(options):
    import numpy as np

    from minilib.lab.checkpoint import write_whole

    tokenizer = _load(options)
    try:
        ids = np.load(options.ids, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"IDS.npy must be a .npy file, got {str(options.ids)!r}: {error}"
        ) from None
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"IDS.npy must hold integers, one row, got {ids.dtype} {ids.shape}")

    def write(path):
        with open(path, "wb") as file:
            for start in range(0, len(ids), 1 << 16):
                file.write(tokenizer.decode(ids[start : start + (1 << 16)]))

    write_whole(options.out, write)
    return f"{len(ids):,} ids"


def _load(options):
    from minilib.tokenizer import Tokenizer

    return Tokenizer.load(options.tokenizer, pattern=options.pattern)


@contextlib.contextmanager
def _reading(path):
    """A file that shows on a terminal how much of it has been read."""
    from tqdm import tqdm

    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        how = {"total": size, "desc": path.name, "disable": None, "leave": False}
        with tqdm.wrapattr(file, "read", **how) as read:
            yield read
