"""The cloze test and the chemistry targets as one dense step without host syncs, for a GPU.

The same function as ``MolAE.forward`` with ``cloze_loss`` (test_dense.py compares them): molecules
are padded to the size of their bucket, lookups in small tables are products with one-hot rows, and
nothing depends on values, so that a step can be captured in a CUDA graph.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from molae_pyg.chem.elements import CLS, MASK, NUM_TOKENS, PAD, SEP
from molae_pyg.nn.gaussian import LEAST_EXPONENT
from molae_pyg.nn.graph_bias import ATOM_SIZES, NUM_PAIR_CODES, GraphBias, pair_codes
from molae_pyg.nn.heads import DistanceHead

RATIO, NOISE, KEEP = 0.15, 1.0, 0.05
CHARGES, HYDROGENS = ATOM_SIZES[0] - 1, ATOM_SIZES[1] - 1


def hot(x, k, dtype=torch.float32):
    return (x.unsqueeze(-1) == torch.arange(k, device=x.device)).to(dtype)


class Heads(nn.Module):
    """Chemistry from CLS and the atom mean; charge and hydrogens of dropped atoms."""

    def __init__(self, channels, num_desc, num_bits, hidden):
        super().__init__()
        width = 2 * channels
        self.stem = nn.Sequential(nn.Linear(width, width), nn.GELU()) if hidden else nn.Identity()
        self.desc = nn.Linear(width, num_desc)
        self.bits = nn.Linear(width, num_bits)
        self.atom = nn.Linear(channels, CHARGES + HYDROGENS)


class Net(nn.Module):
    """MolAE with a graph channel and heads, on dense batches."""

    def __init__(self, model, num_desc, num_bits=1024, graph=True, hidden=False):
        super().__init__()
        self.model = model
        c = model.config
        self.graph = GraphBias(c["hidden_channels"], c["heads"]) if graph else None
        self.heads = Heads(c["hidden_channels"], num_desc, num_bits, hidden)

    def bias(self, token, pos):
        pb = self.model.encoder.pair_bias
        g = pb.gaussian
        one = hot(token, NUM_TOKENS)  # [B, L, 31]
        with torch.autocast(token.device.type, enabled=False):
            distance = (pos[:, :, None] - pos[:, None]).pow(2).sum(-1)
            distance = torch.where(distance > 0, distance, 1.0).sqrt() * (distance > 0)

            def pairwise(table):  # [961, 1] -> [B, L, L]
                left = one @ table.weight.view(NUM_TOKENS, NUM_TOKENS)
                return torch.bmm(left, one.transpose(1, 2))

            t = (pairwise(g.scale) * distance + pairwise(g.offset)).unsqueeze(-1)
            std = g.std.abs() + 1e-5
            width = 1 / (math.sqrt(2) * std)
            u = torch.addcmul(-g.mean * width, t, width)
            e = torch.addcmul(-torch.log(math.sqrt(2 * math.pi) * std), u, u, value=-1)
            features = e.clamp(min=LEAST_EXPONENT).exp()
        return pb.linear2(F.gelu(pb.linear1(features)))  # [B, L, L, H]

    def encode(self, token, pos, real, atom=None, code=None):
        """token, real [B, n], centred pos [B, n, 3], atom [B, n, 6], code [B, n, n]."""
        enc = self.model.encoder
        special = token.new_tensor([CLS, SEP]).expand(len(token), 2) if not token.is_cuda else None
        if special is None:
            special = (torch.arange(2, device=token.device) * (SEP - CLS) + CLS).expand(
                len(token), 2
            )
        token = torch.cat([special.to(token.dtype), token], 1)
        pos, mask = F.pad(pos, (0, 0, 2, 0)), F.pad(real, (2, 0), value=True)
        x = hot(token, NUM_TOKENS) @ enc.embedding.weight
        bias = self.bias(token, pos)
        if self.graph is not None and atom is not None:
            rows = torch.cat([hot(atom[..., k], size) for k, size in enumerate(ATOM_SIZES)], -1)
            unknown = torch.cat([torch.arange(s, device=x.device) > 0 for s in ATOM_SIZES])
            x = x + F.pad((rows * unknown) @ self.graph.atom.weight, (0, 0, 2, 0))
            known = (torch.arange(NUM_PAIR_CODES, device=x.device) > 0).to(bias.dtype)
            one = hot(F.pad(code, (2, 0, 2, 0)), NUM_PAIR_CODES, bias.dtype) * known
            bias = bias + one @ self.graph.pair.weight.to(bias.dtype)
        return enc.transformer(x, bias.permute(0, 3, 1, 2).contiguous(), mask)

    @staticmethod
    def vector(state, real):
        """CLS joined with the mean over atoms [B, 2 C]."""
        weight = real.to(state.x.dtype).unsqueeze(-1)
        mean = (state.x[:, 2:] * weight).sum(1) / weight.sum(1).clamp(min=1)
        return torch.cat([state.x[:, 0], mean], 1)

    def decode(self, state, perm, kept, real):
        """States of kept atoms at their places, [MASK] elsewhere, through the decoder."""
        model = self.model
        B, n = real.shape
        refill = model.encoder.embedding.weight[MASK].to(state.x.dtype)
        x = torch.where(kept[..., None], state.x[:, 2:], refill)
        full = refill.expand(B, n, -1).scatter(1, perm[..., None].expand(-1, -1, x.size(-1)), x)
        place = model.decoder.position
        num = real.sum(1) + 2
        full = full + place(torch.arange(2, n + 2, device=full.device)).to(full.dtype)
        ends = torch.stack([torch.ones_like(num), num], 1)
        special = state.x[:, :2] + place(ends).to(full.dtype)
        mask = F.pad(real, (2, 0), value=True)
        return model.decoder.transformer(torch.cat([special, full], 1), None, mask)


def choose(n, real):
    """drop [B, n]; places of kept [B, nk] and of dropped atoms [B, nd], which of them count."""
    B, size = real.shape
    place = torch.arange(size, device=n.device)
    num = (RATIO * n + torch.rand(B, device=n.device)).long()  # dropped
    key = torch.rand(B, size, device=n.device).masked_fill(~real, 2.0)
    drop = key.argsort(1).argsort(1) < num[:, None]
    drop = drop & real
    nd, nk = int(RATIO * size) + 1, size - int(RATIO * size)
    kept_at = torch.where(drop | ~real, place + size, place.expand(B, -1)).argsort(1)[:, :nk]
    drop_at = torch.where(drop, place.expand(B, -1), place + size).argsort(1)[:, :nd]
    kept = torch.arange(nk, device=n.device) < (n - num)[:, None]
    return drop, kept_at, kept, drop_at, torch.arange(nd, device=n.device) < num[:, None]


def pick(x, at):
    return x.gather(1, at.view(*at.shape, *[1] * (x.dim() - 2)).expand(*at.shape, *x.shape[2:]))


def mean_of(x, weight):
    return (x * weight).sum() / weight.sum().clamp(min=1)


def cloze_terms(net, mol, chosen, pos_noisy, on):
    """Terms of the cloze test, and the state of the encoder and its real atoms."""
    _, kept_at, kept, drop_at, valid = chosen
    real, pos = mol["real"], mol["pos"]
    atom = code = None
    if net.graph is not None:
        atom = pick(mol["atom"], kept_at) * (kept & on[:, None])[..., None]
        code = pick(mol["code"], kept_at)
        code = code.gather(2, kept_at[:, None].expand(-1, kept_at.size(1), -1))
        code = code * (kept[:, :, None] & kept[:, None] & on[:, None, None])
    token = torch.where(kept, mol["token"].gather(1, kept_at), PAD)
    enc = net.encode(token, pick(pos, kept_at) * kept[..., None], kept, atom, code)
    dec = net.decode(enc, kept_at, kept, real)
    model, weight = net.model, valid.float()
    answer = pick(dec.x[:, 2:], drop_at)  # [B, nd, C]
    ce = lambda logits, target: F.cross_entropy(  # noqa: E731
        logits.float().flatten(0, 1), target.flatten(), reduction="none"
    ).view_as(target)
    terms = {
        "token": mean_of(ce(model.token_head(answer), mol["token"].gather(1, drop_at)), weight)
    }
    logits = model.token_head(answer)
    true = mol["token"].gather(1, drop_at)
    terms["accuracy"] = mean_of((logits.argmax(-1) == true).float(), weight).detach()
    start = F.pad(pos_noisy, (0, 0, 2, 0))
    at = (drop_at + 2)[:, None, :, None]  # heads answer for the rows of dropped atoms alone
    at = at.expand(-1, dec.pair.size(1), -1, dec.pair.size(2))
    rows = dec.pair.gather(2, at).permute(0, 2, 3, 1)  # [B, nd, L, H]
    columns = dec.pair.transpose(2, 3).gather(2, at).permute(0, 2, 3, 1)
    with torch.autocast(pos.device.type, enabled=False):
        here = pick(start, drop_at + 2)
        keys = dec.mask[:, None].float()
        w = model.coordinate_head.weight(rows.float() * keys[..., None]) * keys
        move = torch.bmm(w, start) - w.sum(-1, keepdim=True) * here
        moved = here + move / (dec.mask.sum(1)[:, None, None] - 1)
    error = F.smooth_l1_loss(moved, pick(pos, drop_at), reduction="none")
    terms["coordinate"] = mean_of(error.mean(-1), weight)
    head = model.distance_head
    u = head.out(head.norm(F.gelu(head.dense(torch.cat([rows, columns]))))).float().squeeze(-1)
    rows = head.MEAN + head.STD * (u[: len(rows)] + u[len(rows) :]) / 2  # [B, nd, L]
    places = F.pad(pos, (0, 0, 2, 0))
    square = (pick(pos, drop_at)[:, :, None] - places[:, None]).pow(2).sum(-1)
    target = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
    counts = valid[..., None] & dec.mask[:, None] & (target > 0)
    error = F.smooth_l1_loss(rows / DistanceHead.STD, target / DistanceHead.STD, reduction="none")
    terms["distance"] = mean_of(error, counts.float())
    terms["norm"] = enc.x_norm() + enc.pair_norm() + dec.x_norm() + dec.pair_norm()
    if net.graph is not None:
        logits = net.heads.atom(answer)
        known = pick(mol["atom"], drop_at).long()
        charge = ce(logits[..., :CHARGES], (known[..., 0] - 1).clamp(min=0))
        hydrogens = ce(logits[..., CHARGES:], (known[..., 1] - 1).clamp(min=0))
        terms["atom"] = mean_of(charge + hydrogens, weight)
    return terms, enc, kept


def chemistry(net, vector, desc, known, bits):
    """Huber of standardised descriptors and BCE of Morgan bits."""
    h = net.heads.stem(vector)
    error = F.smooth_l1_loss(net.heads.desc(h).float(), desc, reduction="none")
    logits = net.heads.bits(h).float()
    return mean_of(error, known), F.binary_cross_entropy_with_logits(logits, bits)


def objective(net, mol, w):
    """All terms of a batch and their weighted sum "loss".

    ``w``: weights ``cloze``, ``atom``, ``desc``, ``bits``, of the whole view; ``dropped`` is the
    share of the dropped view's; ``off`` the share of molecules without graph; ``share`` that of
    the batch which takes the cloze test.
    """
    n, real, pos = mol["n"], mol["real"], mol["pos"]
    B = len(n)
    terms = {}
    loss = 0.0
    chem = w["desc"] > 0 or w["bits"] > 0
    if w["cloze"] > 0:
        part = {k: v[: max(1, int(w.get("share", 1.0) * B))] for k, v in mol.items()}
        n, real, pos = part["n"], part["real"], part["pos"]
        chosen = choose(n, real)
        drop = chosen[0]
        noised = drop & (torch.rand(drop.shape, device=n.device) >= KEEP)
        noisy = pos + (2 * torch.rand_like(pos) - 1) * NOISE * noised[..., None]
        on = torch.rand(len(n), device=n.device) >= w["off"]
        found, enc, kept = cloze_terms(net, part, chosen, noisy, on)
        terms |= found
        terms["cloze"] = (
            found["token"] + 5 * found["coordinate"] + 10 * found["distance"] + 0.01 * found["norm"]
        )
        loss = loss + w["cloze"] * terms["cloze"] + w["atom"] * found.get("atom", 0.0)
        if chem and w["dropped"] > 0:
            d, b = chemistry(net, net.vector(enc, kept), part["desc"], part["known"], part["bits"])
            terms["desc_dropped"], terms["bits_dropped"] = d, b
            loss = loss + w["dropped"] * (w["desc"] * d + w["bits"] * b)
    if chem:
        on = (torch.rand(B, device=n.device) >= w["off"]) if net.graph is not None else None
        atom = mol["atom"] * on[:, None, None] if on is not None else None
        code = mol["code"] * on[:, None, None] if on is not None else None
        state = net.encode(mol["token"], mol["pos"], mol["real"], atom, code)
        d, b = chemistry(
            net, net.vector(state, mol["real"]), mol["desc"], mol["known"], mol["bits"]
        )
        terms["desc"], terms["bits"] = d, b
        loss = loss + w["desc"] * d + w["bits"] * b
        if w["cloze"] <= 0:
            terms["norm"] = state.x_norm() + state.pair_norm()
            loss = loss + 0.01 * terms["norm"]
    terms["loss"] = loss
    return terms


def assemble(data, idx, size, most_bonds, graph=True):
    """A dense batch of molecules ``idx`` [B] of at most ``size`` atoms, made on the device."""
    n, device = data["n"][idx], idx.device
    place = torch.arange(size, device=device)
    real = place < n[:, None]
    at = (data["start"][idx][:, None] + place).clamp(max=len(data["token"]) - 1)
    mol = {"n": n, "real": real}
    mol["token"] = torch.where(real, data["token"][at].long(), PAD)
    pos = data["pos"][at].float() * data["scale"] * real[..., None]
    mol["pos"] = (pos - pos.sum(1, keepdim=True) / n[:, None, None]) * real[..., None]
    if graph:
        mol["atom"] = data["atom"][at].long() * real[..., None]
        number = torch.arange(most_bonds, device=device)
        has = number < data["m"][idx][:, None]
        at = (data["bond_start"][idx][:, None] + number).clamp(max=len(data["kind"]) - 1)
        bond, kind = data["bond"][at].long(), data["kind"][at].long() * has
        flat = torch.where(has, bond[..., 0] * size + bond[..., 1], size * size)
        table = torch.zeros(len(idx), size * size + 1, dtype=torch.long, device=device)
        table = table.scatter(1, flat, kind)[:, :-1].view(-1, size, size)
        mol["code"] = pair_codes(table + table.transpose(1, 2), real)
    if "desc" in data:
        raw = data["desc"][idx].float()
        known = torch.isfinite(raw) & data["desc_used"]
        z = ((raw - data["desc_mean"]) / data["desc_std"]).clamp(-6, 6)
        mol["desc"], mol["known"] = torch.where(known, z, 0.0), known.float()
        shift = torch.arange(7, -1, -1, device=device)
        packed = data["bits"][idx].long()  # [B, 128]
        mol["bits"] = ((packed[..., None] >> shift) & 1).flatten(1).float()
    return mol
