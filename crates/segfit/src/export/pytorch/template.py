"""@TITLE@

@ABOUT@

This file needs PyTorch alone. Its modules are named as the tensors in `weights.safetensors`.

    from model import load
    network = load()                                 # the weights beside this file, evaluation mode
    image = ...                                      # [batch, @CHANNELS@, rows, columns], float32, values 0 to 1
    classes = network.segment(image)                 # [batch, rows, columns], 0 is the background
    probabilities = network.probabilities(image)     # [batch, @CLASSES@, rows, columns]

Images have any size: `segment` and `probabilities` normalise them, continue them by reflection at the bottom and on the
right to a multiple of @MULTIPLE@, and cut the result back.

@SIZE@

To train on: `network.train()`, `loss(network(x), target)` with x of `normalise` and sides that are multiples of @MULTIPLE@, any
optimiser, then `save(network, "trained.safetensors")` and `segfit import-weights RUN trained.safetensors --out NEW_RUN`.
"""

import ctypes
import json
import struct
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

CLASSES = @CLASS_NAMES@
MEAN = @MEAN@  # of the training images, by channel
STD = @STD@
MULTIPLE = @MULTIPLE@  # sides of the network's input


class Network(nn.Module):
    """@TITLE@

    `forward` takes normalised images whose sides are multiples of `MULTIPLE` and returns logits.
    """

    def __init__(self):
        super().__init__()
@INIT@

    def forward(self, image):
        """Logits, [batch, @CLASSES@, rows, columns], of normalised images, [batch, @CHANNELS@, rows, columns]."""
@FORWARD@

    def probabilities(self, image):
        """The probability of every class, [batch, @CLASSES@, rows, columns].

        `image`: [batch, @CHANNELS@, rows, columns], values 0 to 1 (8 bit images divided by 255, 16 bit ones by 65535), of any size.
        """
        rows, columns = image.shape[-2:]
        x = normalise(image)
        if rows % MULTIPLE or columns % MULTIPLE:
            x = x[:, :, reflected(rows, x.device)][:, :, :, reflected(columns, x.device)]
        logits = Network.forward(self, x)[:, :, :rows, :columns]
        return @PROBABILITIES@

    def segment(self, image):
        """The most probable class of every pixel, [batch, rows, columns]; `image` as for `probabilities`."""
        return self.probabilities(image).argmax(1)
@FRAME@

class Segmenter(Network):
    """The network as a function from images to probabilities, for programs that call `forward`."""

    def forward(self, image):
        return self.probabilities(image)


@FRAME_CLASS@@HELPERS@def normalise(image):
    """(value - mean) / std of every channel."""
    mean, std = (image.new_tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    return (image - mean) / std


def reflected(size, device=None):
    """Positions that continue `size` pixels to a multiple of `MULTIPLE` by reflection: 0 1 2 1 0 1 2 ..."""
    period = max(2 * (size - 1), 1)
    position = torch.arange(-(-size // MULTIPLE) * MULTIPLE, device=device) % period
    return torch.minimum(position, period - position)


def loss(logits, target):
    """@LOSS_WORDS@ A scalar, smaller is better.

    `logits`: [batch, classes, rows, columns]; `target`: [batch, rows, columns] with the numbers of the classes, int64.
    Soft Dice of a class is (2 sum p t + 1) / (sum p + sum t + 1), p its probability, t 1 where it is the target; sums over
    batch and pixels.
    """
    t = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
@LOSS@
    over = (0, 2, 3)
    dice = (2 * (p * t).sum(over) + 1) / (p.sum(over) + t.sum(over) + 1)
    return cross_entropy + 1 - dice[1:].mean()


def load(path=None):
    """The network with the weights of a safetensors file (the one beside this file), in evaluation mode."""
    network = Network()
    network.load_state_dict(read_safetensors(path or Path(__file__).with_name("weights.safetensors")))
    return network.eval()


def save(network, path):
    """Writes the weights of a network as a safetensors file; `segfit import-weights` reads it."""
    header, data, end = {}, [], 0
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        tensor = tensor.detach().to("cpu", torch.float32).contiguous()
        begin, end = end, end + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
        data.append(ctypes.string_at(tensor.data_ptr(), 4 * tensor.numel()))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def read_safetensors(path):
    """The tensors of a safetensors file by name, as `safetensors.torch.load_file` returns them."""
    types = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
    data = bytearray(Path(path).read_bytes())
    start = 8 + struct.unpack_from("<Q", data)[0]
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        kind = types[entry["dtype"]]
        values = torch.frombuffer(data, dtype=kind, count=(end - begin) // kind.itemsize, offset=start + begin)
        tensors[name] = values.clone().reshape(entry["shape"])
    return tensors
