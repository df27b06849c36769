"""The networks that round_trip.py imports, with random weights and random running statistics, in inference mode."""

import torch
from torch import nn


class PlainUnet(nn.Module):
    """A U-Net as people write it: two convolutions per block, transposed convolutions, skips."""

    def __init__(self, channels=3, classes=2, width=8, depth=3, norm=True):
        super().__init__()

        def block(inputs, outputs):
            layers = []
            for a in (inputs, outputs):
                layers.append(nn.Conv2d(a, outputs, 3, padding=1))
                if norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU(inplace=True))
            return nn.Sequential(*layers)

        widths = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(block(a, b) for a, b in zip([channels, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.dec = nn.ModuleList(block(2 * w, w) for w in widths[:-1])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.dec[level](torch.cat([skips[level], self.up[level](x)], dim=1))
        return self.head(x)


class InterpolatedUnet(nn.Module):
    """Upsampling to the size of the skip, instance and group norm, leaky ReLU and PReLU, padding, a sigmoid at the end."""

    def __init__(self, mode="bilinear"):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.1))
        self.b = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.GroupNorm(4, 16), nn.PReLU(16))
        self.c = nn.Sequential(nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.InstanceNorm2d(16), nn.ELU())
        self.d = nn.Sequential(nn.Conv2d(24, 8, 3, padding=1), nn.SiLU(), nn.Dropout(0.2))
        self.head = nn.Conv2d(8, 1, 1)
        self.mode = mode

    def forward(self, x):
        a = self.a(x)
        y = self.b(a)
        y = y + self.c(y)
        options = {} if self.mode == "nearest" else {"align_corners": self.mode == "corners"}
        mode = "bilinear" if self.mode == "corners" else self.mode
        y = torch.nn.functional.interpolate(y, size=a.shape[2:], mode=mode, **options)
        return torch.sigmoid(self.head(self.d(torch.cat([a, y], dim=1))))


class Logits(nn.Module):
    """Only the `out` of a torchvision segmentation network."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)["out"]


def smp(architecture, **options):
    import segmentation_models_pytorch as smp

    return getattr(smp, architecture)(encoder_weights=None, classes=2, **options)


def monai(name, **options):
    import monai.networks.nets as nets

    return getattr(nets, name)(spatial_dims=2, in_channels=1, out_channels=2, **options)


def torchvision(name):
    import torchvision.models.segmentation as nets

    return Logits(getattr(nets, name)(weights=None, weights_backbone=None, num_classes=2, aux_loss=True))


# Name: (what makes it, channels of the image).
MODELS = {
    "plain U-Net, batch norm": (lambda: PlainUnet(), 3),
    "plain U-Net, no norm": (lambda: PlainUnet(norm=False), 3),
    "U-Net with instance and group norm, bilinear": (lambda: InterpolatedUnet("bilinear"), 1),
    "the same, nearest": (lambda: InterpolatedUnet("nearest"), 1),
    "the same, align_corners": (lambda: InterpolatedUnet("corners"), 1),
    "smp Unet(resnet18)": (lambda: smp("Unet", encoder_name="resnet18"), 3),
    "smp Unet(mobilenet_v2)": (lambda: smp("Unet", encoder_name="mobilenet_v2"), 3),
    "smp Unet(resnet18, scse)": (lambda: smp("Unet", encoder_name="resnet18", decoder_attention_type="scse"), 3),
    "smp Unet(timm-mobilenetv3_small_100)": (lambda: smp("Unet", encoder_name="timm-mobilenetv3_small_100"), 3),
    "smp Unet(efficientnet-b0)": (lambda: smp("Unet", encoder_name="efficientnet-b0"), 3),
    "smp Unet(resnext50_32x4d)": (lambda: smp("Unet", encoder_name="resnext50_32x4d"), 3),
    "smp UnetPlusPlus(resnet18)": (lambda: smp("UnetPlusPlus", encoder_name="resnet18"), 3),
    "smp FPN(resnet18)": (lambda: smp("FPN", encoder_name="resnet18"), 3),
    "smp Linknet(resnet18)": (lambda: smp("Linknet", encoder_name="resnet18"), 3),
    "smp DeepLabV3Plus(resnet18)": (lambda: smp("DeepLabV3Plus", encoder_name="resnet18"), 3),
    "MONAI UNet": (lambda: monai("UNet", channels=(8, 16, 32, 64), strides=(2, 2, 2), num_res_units=2), 1),
    "MONAI UNet, no residual units": (lambda: monai("UNet", channels=(8, 16, 32), strides=(2, 2), norm="batch"), 1),
    "MONAI BasicUNet": (lambda: monai("BasicUNet", features=(8, 8, 16, 32, 64, 8)), 1),
    "MONAI BasicUNet, nontrainable": (lambda: monai("BasicUNet", features=(8, 8, 16, 32, 64, 8), upsample="nontrainable"), 1),
    "MONAI AttentionUnet": (lambda: monai("AttentionUnet", channels=(8, 16, 32), strides=(2, 2)), 1),
    "MONAI SegResNet": (lambda: monai("SegResNet", init_filters=8), 1),
    "MONAI DynUNet": (lambda: monai("DynUNet", kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[8, 16, 32]), 1),
    "torchvision fcn_resnet50": (lambda: torchvision("fcn_resnet50"), 3),
    "torchvision deeplabv3_resnet50": (lambda: torchvision("deeplabv3_resnet50"), 3),
    "torchvision lraspp_mobilenet_v3_large": (lambda: Logits(__import__("torchvision").models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)), 3),
}


def build(name):
    """The network called `name` in inference mode, its running statistics and affine parameters random, and its channels."""
    torch.manual_seed(1)
    make, channels = MODELS[name]
    net = make().eval()
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)):
            if getattr(module, "running_mean", None) is not None:
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
    return net, channels
