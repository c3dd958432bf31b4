"""Train lesson 34's nets and save their weights beside this file, with how they were made.

    python data/weights/text_to_image.py --overwrite

"text_to_image_vae" is the discrete autoencoder, "text_to_image" the model of captions and of its
codes, "text_to_image_scorer" what pictures are reranked by. A caption is the name of a face, then
that of the letter. All three see training letters only. --parts trains some of the three.
"""

import argparse
import os
import pathlib
import sys
import time

import torch
from torch.nn import functional as F

from minilib import lab
from minilib.lab import weights
from minilib.lab.train import History
from minilib.lab.typefaces import FACES, captioned_letters, named_letters
from minilib.text_to_image import (
    DiscreteVAE,
    Scorer,
    TextToImage,
    anneal,
    caption,
    contrastive_loss,
    drawing_loss,
    vae_loss,
)

BATCH = 64
BETA = 0.1
TEXT = 8  # words of a caption: the face and at most seven more
NOISE = 0.3  # the share of codes that are read as random ones in training


def letters(part):
    """(images (count, 1, 16, 16), captions (count, 8), words): the face is the first word.

    Of the Latin letters in `named_letters` those whose names are made of the words of
    `captioned_letters`: those before U+0180 and others.
    """
    words = captioned_letters("train", side=16).words
    words = [*words, *(face.upper() for face in FACES)]
    found = named_letters(part, side=16)
    pieces = [name.split() for name in found.names]
    known = [len(p) < TEXT and p[0] == "LATIN" and set(p) <= set(words) for p in pieces]
    rows = [k for k, fits in enumerate(known) if fits]
    captions = [caption(f"{found.faces[k].upper()} {found.names[k]}", words, TEXT) for k in rows]
    return torch.tensor(found.images[rows])[:, None], torch.stack(captions), words


def drawn(count, generator):
    """Random rows of `count`."""
    return torch.randint(count, (BATCH,), generator=generator)


def uniforms(shape, generator):
    """In (0, 1), without 0 and 1."""
    return torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6)


# -- the discrete autoencoder ----------------------------------------------------------------------


def train_vae(seed, steps, end=1 / 16, rate=2e-3):
    """tau falls from 1 to `end` over four fifths of the steps, beta rises over the first fifth."""
    torch.manual_seed(seed)
    net, (images, _, _) = DiscreteVAE(), letters("train")
    optimizer = torch.optim.Adam(net.parameters(), rate)
    generator, losses = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = anneal(step, steps, rate, rate / 20)
        x = images[drawn(len(images), generator)]
        u = uniforms((BATCH, 4, 4, len(net.codes)), generator)
        pictures, logits = net(x, u, anneal(step, 0.8 * steps, 1.0, end))
        loss = vae_loss(pictures, x, logits, BETA * min(1, 5 * step / steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net.eval(), losses


@torch.no_grad()
def score_vae(net, part="test"):
    images, _, _ = letters(part)
    codes = net.encode(images)
    error = F.mse_loss(net.decode(codes), images).item()
    return {f"{part}_mean_squared_error": error, f"{part}_codes_used": len(codes.unique())}


# -- the model of captions and codes ---------------------------------------------------------------


def rows_of(model, net, part):
    images, captions, _ = letters(part)
    with torch.no_grad():
        return model.rows_of(captions, net.encode(images))


def train_model(net, seed, steps, model, rate=3e-3, every=None):
    rows, held_out = rows_of(model, net, "train"), rows_of(model, net, "validation")

    def batches(step):
        """What is to be predicted, and what is read: there some codes are random ones.

        So the model looks at the caption more, and forgives what it has drawn badly.
        """
        generator = torch.Generator().manual_seed(10_000 * seed + step)
        ids = rows[drawn(len(rows), generator)]
        other = torch.randint(model.words, model.start, ids.shape, generator=generator)
        replaced = torch.rand(ids.shape, generator=generator) < NOISE
        replaced[:, : 1 + model.text] = False
        return ids, torch.where(replaced, other, ids)

    def loss(model, batch):
        ids, read = batch
        return drawing_loss(model(read), ids, model.text)[0]

    @torch.no_grad()
    def validate(model):
        found = drawing_loss(model(held_out), held_out, model.text)[2].item()
        print(f"validation {found:.3f} nats per code", flush=True)
        return found

    how = {"steps": steps, "lr": rate, "seed": seed, "progress": False, "weight_decay": 0.1}
    return lab.fit(model, batches, loss=loss, validate=validate, every=every, **how)


@torch.no_grad()
def score_model(model, net, part="test"):
    """Nats per code under the right captions, and under those of other pictures."""
    rows = rows_of(model, net, part)
    other = rows.clone()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    other[:, 1 : 1 + model.text] = rows[order, 1 : 1 + model.text]
    nats = [drawing_loss(model(x), x, model.text)[2].item() for x in (rows, other)]
    return dict(zip((f"{part}_nats_per_code", f"{part}_nats_shuffled"), nats, strict=True))


# -- the scorer ------------------------------------------------------------------------------------


def train_scorer(net, seed, steps, scorer, rate=2e-3):
    """Half of the pictures are the letters, half are painted from their codes, some of them wrong:
    so it learns what drawings look like."""
    images, captions, _ = letters("train")
    with torch.no_grad():
        grids = net.encode(images)

    def batches(step):
        generator = torch.Generator().manual_seed(10_000 * seed + step)
        rows = drawn(len(images), generator).unique()
        codes, half = grids[rows], torch.rand(len(rows), generator=generator) < 0.5
        other = torch.randint(len(net.codes), codes.shape, generator=generator)
        wrong = torch.rand(codes.shape, generator=generator) < 0.1
        with torch.no_grad():
            painted = net.decode(torch.where(wrong, other, codes)).clamp(0, 1)
        return torch.where(half[:, None, None, None], painted, images[rows]), captions[rows]

    def loss(scorer, batch):
        return contrastive_loss(scorer(*batch))

    how = {"steps": steps, "lr": rate, "seed": seed, "progress": False, "weight_decay": 0.1}
    return lab.fit(scorer, batches, loss=loss, **how)


@torch.no_grad()
def score_scorer(scorer, part="test"):
    """In how many cases the right caption of all of its part is found for a picture."""
    images, captions, _ = letters(part)
    right = scorer(images, captions).argmax(1) == torch.arange(len(images))
    return {f"{part}_found": right.double().mean().item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"vae-steps": 1500, "steps": 600, "scorer-steps": 800, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--parts", nargs="+", default=["vae", "model", "scorer"])
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    folder, seed = pathlib.Path(__file__).parent, options.seed
    files = {"vae": "text_to_image_vae", "model": "text_to_image", "scorer": "text_to_image_scorer"}
    files = {part: folder / f"{name}.safetensors" for part, name in files.items()}
    for part in options.parts:
        weights.refuse_taken(files[part], options.overwrite)
    command = f"python data/weights/text_to_image.py {' '.join(sys.argv[1:])}".strip()
    split = {"test_split": "lab.typefaces.named_letters('test', side=16), known words"}

    def keep(part, net, settings, history, score):
        """Save, score as it is on disk, in float16, and save that too."""
        record = weights.record(net, settings, command, seed, history, **split)
        both = lambda net: score(net) | score(net, "validation")
        print(weights.save_scored(files[part], net, record, both)[1], flush=True)

    words = len(letters("train")[2])
    if "vae" in options.parts:
        started = time.process_time()
        net, losses = train_vae(seed, options.vae_steps)
        history = History(losses, seconds=time.process_time() - started)
        keep("vae", net, {"codes": 64, "dim": 16, "channels": 32}, history, score_vae)
    if "model" in options.parts:
        net, _ = weights.load(DiscreteVAE, files["vae"])
        torch.manual_seed(seed)
        settings = {"words": words, "codes": 64, "text": TEXT, "side": 4, "width": options.width}
        model = TextToImage(**settings)
        history = train_model(net, seed, options.steps, model, every=max(1, options.steps // 8))
        keep("model", model, settings, history, lambda *part: score_model(part[0], net, *part[1:]))
    if "scorer" in options.parts:
        torch.manual_seed(seed)
        scorer = Scorer(words)
        net, _ = weights.load(DiscreteVAE, files["vae"])
        history = train_scorer(net, seed, options.scorer_steps, scorer)
        keep("scorer", scorer, {"words": words}, history, score_scorer)


if __name__ == "__main__":
    main()
