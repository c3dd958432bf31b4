"""Where patches start in many scripts, who sees whom, what leaks, cost, the stream; refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minilib.__main__ import main
from minilib.compare import leaves_of
from minilib.hourglass import run_blocks
from minilib.naive import spacebyte as naive
from minilib.spacebyte import SpaceByte, boundaries, is_spacelike, multiply_adds, patch_lengths

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def white_space_alone(ids):
    return np.isin(ids, [9, 10, 11, 12, 13, 32])


def ascii_that_is_not_alphanumeric(ids):
    return np.array([a < 128 and not chr(a).isalnum() for a in ids.ravel()], bool).reshape(
        ids.shape
    )


def no_letter_of_latin_1(ids):
    return np.array([not chr(a).isalnum() for a in ids.ravel()], bool).reshape(ids.shape)


def in_place(ids):
    """mask[1:] &= ~mask[:-1], byte by byte on the mask that changes: runs of spaces alternate."""
    out = naive.is_spacelike(ids)
    for t in range(1, ids.shape[1]):
        out[:, t] &= ~out[:, t - 1]
    out[:, :1] = True
    return out


def the_last_of_a_run(ids):
    return naive.boundaries(ids[:, ::-1])[:, ::-1]


def lengths_without_the_last(ids):
    starts = naive.boundaries(ids[None])[0].nonzero()[0]
    return np.diff(starts)


def ends_of_patches(ids):
    return np.cumsum(naive.patch_lengths(ids))


def sum_of_all(*sizes):
    return (sum(naive.multiply_adds(*sizes)),)


LEFT = "y[0, j, global_width - d :]"
WRONG = {
    naive.is_spacelike: [
        white_space_alone,
        ascii_that_is_not_alphanumeric,
        no_letter_of_latin_1,
        *edited(
            naive.is_spacelike,
            cuts_inside_characters=(" | continues", ""),
            never_outside_of_ascii=("(ids <= 191)", "(ids <= 255)"),
            digits_are_spacelike=("digit | ", ""),
        ),
    ],
    naive.boundaries: [
        in_place,
        the_last_of_a_run,
        *edited(
            naive.boundaries,
            every_spacelike_byte=(
                "(inside and is_spacelike(ids[row, t]))",
                "is_spacelike(ids[row, t])",
            ),
            the_letter_after_it=(
                "(inside and is_spacelike(ids[row, t]))",
                "(not inside and not is_spacelike(ids[row, t]))",
            ),
            the_first_only_if_spacelike=("t == 0 or (inside", "(inside"),
        ),
    ],
    naive.patch_lengths: [lengths_without_the_last, ends_of_patches],
    naive.spacebyte: edited(
        naive.spacebyte,
        global_a_byte_early=("x[row, t] += ", "x[row, max(t - 1, 0)] += "),
        to_the_whole_patch=("x[row, t] += ", "x[row, t : t + 2] += "),
        replaced_not_added=("x[row, t] += ", "x[row, t] = "),
        zeros_to_the_right=(f"{LEFT} = x", "y[0, j, :d] = x"),
        the_first_channels_go_back=(f"+= {LEFT}", "+= y[0, j, :d]"),
        patches_a_byte_late=("np.arange(T) % patch == 0", "np.arange(T) % patch == patch - 1"),
        window_in_the_middle=("heads, True, context)", "heads, True, window)"),
        context_forgotten=("heads, True, context)", "heads, True, None)"),
        window_forgotten=(
            '"before", x, before, heads, True, window',
            '"before", x, before, heads, True, None',
        ),
        no_global_blocks=('"middle", y, middle,', '"middle", y, 0,'),
    ),
    naive.multiply_adds: [
        sum_of_all,
        *edited(
            naive.multiply_adds,
            all_steps_see_as_many=("min(t + 1, most)", "most"),
            global_blocks_at_every_byte=("block(patches, global_width", "block(T, global_width"),
            scores_but_no_sums=("+ seen * C + seen * C", "+ seen * C"),
            final_blocks_forgotten=("(before + after) *", "before *"),
        ),
    ],
}

# -- where a patch starts --------------------------------------------------------------------------


def cut(text):
    """The patches of a text, as bytes."""
    ids = torch.tensor([*text], dtype=torch.int64)
    ends = patch_lengths(ids).cumsum(0).tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    "text,patches",
    [
        ("To be, or not", ["To", " be", ", or", " not"]),
        ("naïve café", ["na", "ïve", " caf", "é"]),  # leading bytes are spacelike
        ("да нет", ["д", "а", " н", "е", "т"]),  # Cyrillic: a patch for each letter
        ("ναι, όχι", ["ν", "α", "ι", ", ό", "χ", "ι"]),  # Greek
        ("نعم لا", ["ن", "ع", "م", " ل", "ا"]),  # Arabic
        ("שלום", ["ש", "ל", "ו", "ם"]),  # Hebrew
        ("हिन्दी", ["ह", "ि", "न", "्", "द", "ी"]),  # Devanagari: a patch for each vowel sign
        ("中文 没有", ["中", "文", " 没", "有"]),  # Chinese
        ("ไทย", ["ไ", "ท", "ย"]),  # Thai
        ("한글", ["한", "글"]),  # Hangul
        ("if(a_1==10){\n\tx", ["if", "(a", "_1", "==10", "){\n\tx"]),
        ("3.14159 and 1,000", ["3", ".14159", " and", " 1", ",000"]),
        ("a   b  \n\n c", ["a", "   b", "  \n\n c"]),  # the first of a run, whatever it is made of
        ("@Z[`z{/9:", ["@Z", "[`z", "{/9", ":"]),  # the neighbours of letters and digits
        ("     ", ["     "]),
        ("", []),
        ("a", ["a"]),
        (" ", [" "]),
        ("é", ["é"]),
        (" a", [" a"]),
        ("a ", ["a", " "]),
        ("ab", ["ab"]),
        ("  ", ["  "]),
    ],
)
def test_patches_by_hand(text, patches):
    assert [patch.decode() for patch in cut(text.encode())] == patches


@pytest.mark.parametrize(
    "text,patches",
    [
        (b"\xff\xfeA\x80\xc3", [b"\xff\xfeA\x80", b"\xc3"]),
        (b"\x80\x80", [b"\x80\x80"]),  # continues what never began
        (b"a\xc3", [b"a", b"\xc3"]),
        (b"\xe4\xb8 x\x00\x01y", [b"\xe4\xb8", b" x", b"\x00\x01y"]),
    ],
)
def test_bytes_that_are_no_utf_8(text, patches):
    assert cut(text) == patches


def test_the_spacelike_bytes_are_counted():
    """256 less 10 digits, 52 letters, 64 that continue; every leading byte is one."""
    space = is_spacelike(torch.arange(256))
    assert space.sum() == 256 - 10 - 52 - 64
    assert space[0xC0:].all() and not space[0x80:0xC0].any()


def test_only_the_past_decides():
    ids = torch.randint(256, (1, 40), generator=torch.Generator().manual_seed(0))
    whole = boundaries(ids)
    for t in range(1, 41):
        assert torch.equal(boundaries(ids[:, :t]), whole[:, :t])


@pytest.mark.parametrize("text", [b"to be or not  to be", b"\x00a b", b"1"])
def test_patch_lengths_by_a_regular_expression(text):
    """Third opinion: a patch is what stands before the next change from a letter to none."""
    import re

    found = re.findall(rb"[^0-9A-Za-z]*[0-9A-Za-z]*", text)
    assert cut(text) == [piece for piece in found if piece]


# -- helpers ---------------------------------------------------------------------------------------

SMALL = {"width": 8, "global_width": 12, "before": 1, "middle": 2, "after": 1, "heads": 2}


def made(cls=SpaceByte, **settings):
    """A small float64 model, every parameter off its initial value."""
    torch.manual_seed(0)
    model = cls(**SMALL | settings).double()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model


TEXT = torch.tensor([[*b"to be, or not  to be"]])


@torch.no_grad()
def sight(model, other=(120, 32)):
    """(T, T) bool: does the prediction after byte n move if byte s becomes an x, or a blank?"""
    T = TEXT.shape[1]
    before, seen = model(TEXT)[0], np.zeros((T, T), bool)
    for s in range(T):
        for byte in other:
            changed = TEXT.clone()
            changed[:, s] = byte
            seen[:, s] |= ((model(changed)[0] - before).abs() > 1e-12).any(-1).numpy()
    return seen


# -- who sees what ---------------------------------------------------------------------------------


def test_a_prediction_sees_every_byte_before_it_and_no_other():
    assert np.array_equal(sight(made()), np.tri(20, dtype=bool))
    assert np.array_equal(sight(made(patch=3)), np.tri(20, dtype=bool))


def test_local_blocks_alone_see_a_window():
    """Without global blocks: two blocks of three bytes reach five back, and nothing else does."""
    n, s = np.indices((20, 20))
    assert np.array_equal(sight(made(middle=0, window=3), (120,)), (s <= n) & (s > n - 5))


def test_global_blocks_bring_what_lies_out_of_the_window():
    """Of one byte each, without blocks before and after: boundaries see the boundaries."""
    model = made(before=0, after=0, middle=1)
    starts = boundaries(TEXT)[0].numpy()
    n, s = np.indices((20, 20))
    want = (s == n) | (starts[n] & starts[s] & (s < n))
    before = model(TEXT)[0]
    for t in range(20):  # another byte of the same kind, so that no boundary moves
        byte = 46 if is_spacelike(TEXT[0, t]) else 120
        changed = TEXT.clone()
        changed[0, t] = byte
        moved = ((model(changed)[0] - before).abs() > 1e-12).any(-1)
        assert moved.tolist() == want[:, t].tolist()


class DecidesEarly(SpaceByte):
    """A word ends with its last letter: which letter that is the next byte tells."""

    def _starts(self, ids, state):
        starts = super()._starts(ids, state)
        return torch.cat([starts[:, 1:], starts[:, :1]], dim=1)


class AddsEarly(SpaceByte):
    """The global output is there one byte before the boundary."""

    def _global(self, x, starts, state):
        y, seen, middle = super()._global(x, starts, state)
        added = y - x
        return x + torch.cat([added[:, 1:], added[:, :1]], dim=1), seen, middle


class SummarisesItsPatch(SpaceByte):
    """The global blocks read the last byte of the patch that starts at the boundary."""

    def _global(self, x, starts, state):
        ahead = torch.cat([x[:, 2:], x[:, -2:]], dim=1)
        y, seen, middle = super()._global(ahead, starts, state)
        return x + y - ahead, seen, middle


@pytest.mark.parametrize("patch", [None, 4])
@pytest.mark.parametrize("broken", [DecidesEarly, AddsEarly, SummarisesItsPatch])
def test_every_lag_that_is_broken_leaks(broken, patch):
    """With fixed patches a decision that comes early is no leak: it depends on no byte."""
    leaks = np.triu(sight(made(broken, patch=patch)), 1).any()
    assert leaks == (broken is not DecidesEarly or patch is None)


def test_a_block_that_sees_the_future_leaks():
    local = made()
    local.before[0].causal, local.before[0].window = False, None
    assert np.triu(sight(local), 1).any()
    flipped = made()  # global blocks that read the patches backwards
    for block in flipped.middle:
        block.register_forward_pre_hook(lambda _, inputs: (inputs[0].flip(1), *inputs[1:]))
        block.register_forward_hook(lambda _, __, out: (out[0].flip(1), *out[1:]))
    assert np.triu(sight(flipped), 1).any()


# -- the model -------------------------------------------------------------------------------------


def params(model):
    return {name: p.numpy() for name, p in model.state_dict().items()}


@torch.no_grad()
def test_a_patch_at_every_byte_is_an_ordinary_stack():
    """P = 1 and one width: x, then x + stack(x), as the blocks of other models compute them."""
    model = made(patch=1, global_width=8, window=5, context=5)
    x = model.embed[TEXT]
    no_past = lambda blocks: tuple(b.no_past(1, x) for b in blocks)
    x, _ = run_blocks(model.before, x, no_past(model.before), 0)
    ordinary = SpaceByte(**SMALL | {"global_width": 8, "window": 5, "before": 2}).double()
    for block, other in zip(model.middle, ordinary.before, strict=True):
        other.load_state_dict(block.state_dict())
    y, _ = run_blocks(ordinary.before, x, no_past(ordinary.before), 0)
    x, _ = run_blocks(model.after, x + y, no_past(model.after), 0)
    torch.testing.assert_close(
        model(TEXT), model.norm(x) @ model.output.t(), rtol=1e-12, atol=1e-12
    )


@torch.no_grad()
def test_fixed_patches_where_words_start_are_the_same_model():
    text = torch.tensor([[*b"abc de fg hi jk lm"]])  # every third byte is a boundary but for b_0
    starts = boundaries(text)[0].nonzero()[:, 0].tolist()
    assert starts == [0, 3, 6, 9, 12, 15]
    space, fixed = made(), made(patch=3)
    assert torch.equal(space(text), fixed(text))


@torch.no_grad()
def test_padding_of_a_shorter_row_is_never_read():
    """Rows with 1, 20 and 7 patches: each as if it were alone."""
    rows = torch.tensor([[*b"a" * 20], [*"éèêëàâäîïô".encode()], [*b"to be or not to be, "]])
    model = made(context=3)
    counts = boundaries(rows).sum(1).tolist()
    assert counts == [1, 10, 7]
    together = model(rows)
    for row in range(3):
        torch.testing.assert_close(model(rows[row : row + 1])[0], together[row])


@torch.no_grad()
def test_a_fresh_net_guesses_about_uniformly():
    torch.manual_seed(0)
    ids = torch.randint(256, (4, 33))
    logits = SpaceByte()(ids[:, :-1]).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
    assert abs(loss - math.log(256)) < 0.05


# -- decoding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"window": 3, "context": 2}, {"patch": 4, "context": 2}])
@torch.no_grad()
def test_any_two_cuts_of_a_text_give_the_forward(settings):
    model = made(**settings)
    ids = torch.cat([TEXT, TEXT.flip(1), TEXT.roll(5, 1)])[:, :11]
    forward = model(ids)
    for a in range(1, 10):
        for b in range(a + 1, 11):
            state, rows = model.init_state(3), []
            for piece in (ids[:, :a], ids[:, a:b], ids[:, b:]):
                logits, state = model.extend(piece, state)
                rows.append(logits)
            torch.testing.assert_close(torch.cat(rows, 1), forward, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("patch,patches", [(None, 6), (7, 3)])
@torch.no_grad()
def test_global_blocks_run_only_at_a_boundary(patch, patches):
    """'to be, or not  to be' has six boundaries: four blanks, a comma, and the first byte."""
    model, runs = made(patch=patch), []
    for block in model.middle:
        block.register_forward_hook(lambda *_: runs.append("global"))
    for block in (*model.before, *model.after):
        block.register_forward_hook(lambda *_: runs.append("local"))
    state = model.init_state(1)
    for t in range(20):
        before = runs.count("global")
        starts = boundaries(TEXT)[0, t] if patch is None else t % patch == 0
        _, state = model.step(TEXT[:, t], state)
        assert runs.count("global") - before == 2 * int(starts)
    assert runs.count("global") == 2 * patches and runs.count("local") == 2 * 20
    assert state.seen.tolist() == [patches]


@torch.no_grad()
def test_the_state_stops_growing():
    model, sizes = made(window=4, context=3), []
    state = model.init_state(1)
    for byte in [*b"a b "] * 20:
        _, state = model.step(torch.tensor([byte]), state)
        tensors = (leaf for _, leaf in leaves_of(state) if isinstance(leaf, torch.Tensor))
        sizes.append(sum(leaf.numel() for leaf in tensors))
    # keys and values: 2 local blocks of 4 bytes and 8 channels, 2 global ones of 3 and 12
    assert set(sizes[10:]) == {2 * (2 * 4 * 8) + 2 * (2 * 3 * 12) + 2}


# -- cost ------------------------------------------------------------------------------------------


def test_multiply_adds_by_hand():
    # 2 bytes, window 1: a block of 3 channels costs 2 · 12 · 9 and 2 · 3 · (1 + 1) for the scores
    got = multiply_adds(2, 1, 3, 5, 1, 1, 1, 1, 9, vocab_size=7)
    assert got == (2 * (216 + 12), 12 * 25 + 2 * 5, 2 * 3 * 7)


@pytest.mark.parametrize("T,patch", [(12, 1), (12, 4), (13, 3), (1, 1)])
@torch.no_grad()
def test_multiply_adds_are_those_that_torch_counts(T, patch):
    """A kernel that does not skip what is masked computes all T² scores: the rest must agree."""
    sizes = {"width": 8, "global_width": 12, "before": 1, "middle": 2, "after": 1}
    model, counter = (
        SpaceByte(**sizes, heads=2, patch=patch, vocab_size=11),
        FlopCounterMode(display=False),
    )
    with sdpa_kernel(SDPBackend.MATH), counter:
        model(torch.zeros(1, T, dtype=torch.int64))
    S = -(-T // patch)
    masked = 2 * 2 * 8 * T * (T - 1) // 2 + 2 * 2 * 12 * S * (S - 1) // 2
    counted = sum(multiply_adds(T, S, **sizes, window=T, context=T, vocab_size=11))
    assert counter.get_total_flops() == 2 * (counted + masked)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"width": 0}, "width must be 1 or more"),
        ({"global_width": 7}, "global_width must be width=8 or more, got 7"),
        ({"middle": -1}, "before, middle and after"),
        ({"window": 0}, "window"),
        ({"context": 0}, "context"),
        ({"heads": 3}, "heads must divide width"),
        ({"patch": 0}, "patch must be 1 or more"),
        ({"vocab_size": 257}, "vocab_size must be 256 at most"),
    ],
)
def test_impossible_models_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SpaceByte(**SMALL | settings)


def test_other_refusals():
    SpaceByte(**SMALL, vocab_size=300, patch=2)  # bytes do not decide
    for ids in (torch.tensor([[256]]), torch.tensor([[-1]])):
        with pytest.raises(ValueError, match="ids must be bytes"):
            boundaries(ids)
    with pytest.raises(TypeError, match="ids must be int64"):
        is_spacelike(torch.zeros(3))
    with pytest.raises(ValueError, match=r"ids must have shape \(batch, T\)"):
        boundaries(torch.tensor([1]))
    with pytest.raises(ValueError, match=r"ids must have shape \(T,\)"):
        patch_lengths(torch.tensor([[1]]))
    with pytest.raises(ValueError, match="patches must lie in"):
        multiply_adds(5, 6, 8, 8, 1, 1, 1, 4, 4)
    with pytest.raises(ValueError, match="window must be 1 or more"):
        multiply_adds(5, 5, 8, 8, 1, 1, 1, 0, 4)


def test_the_command_line_trains_one(tmp_path, capsys):
    text, out = tmp_path / "text.txt", tmp_path / "weights.safetensors"
    text.write_text("to be or not to be, that is the question\n" * 50)
    settings = "width=8 global_width=12 middle=1 heads=1 window=5 context=4 patch=none"
    options = "--steps 2 --batch 2 --length 10 --device cpu"
    words = ["train", "spacebyte", *settings.split(), *options.split()]
    assert main([*words, "--text", str(text), "--out", str(out)]) == 0
    assert "bits per byte" in capsys.readouterr().out and out.exists()
