//! Options whose values cannot be meant.

use crate::case::Case;

/// What is wrong, the command, the message.
const OPTIONS: &[(&str, &str, &str)] = &[
    (
        "a command that does not exist",
        "mesure data",
        "unrecognized subcommand 'mesure'\n\n\
         \x20\x20tip: a similar subcommand exists: 'measure'\n\n\
         Usage: segfit [OPTIONS] <COMMAND>{help}",
    ),
    (
        "an option that does not exist",
        "plan data --keeep 95%",
        "unexpected argument '--keeep' found\n\n\
         \x20\x20tip: a similar argument exists: '--keep'\n\n\
         Usage: segfit plan DATA --keep SHARE [OPTIONS]\n\
         \x20\x20\x20\x20\x20\x20\x20segfit plan DATA --max-params COUNT [OPTIONS]\n\
         \x20\x20\x20\x20\x20\x20\x20segfit plan --compare PLAN PLAN...{help}",
    ),
    (
        "a budget of 0 parameters",
        "plan data --size 32 --max-params 0 --out new",
        "invalid value '0' for '--max-params <COUNT>': expected a count such as 250k, 1.5M or 250000{help}",
    ),
    (
        "a budget of -5 parameters",
        "plan data --size 32 --max-params=-5 --out new",
        "invalid value '-5' for '--max-params <COUNT>': expected a count such as 250k, 1.5M or 250000{help}",
    ),
    (
        "a budget that is a word",
        "plan data --size 32 --max-params many --out new",
        "invalid value 'many' for '--max-params <COUNT>': expected a count such as 250k, 1.5M or \
         250000{help}",
    ),
    (
        "a budget of more parameters than can be counted",
        "plan data --size 32 --max-params 1e30 --out new",
        "invalid value '1e30' for '--max-params <COUNT>': expected a count such as 250k, 1.5M or \
         250000{help}",
    ),
    (
        "a share to keep of 150%",
        "plan data --size 32 --keep 150% --out new",
        "invalid value '150%' for '--keep <SHARE>': expected a share such as 95% or 0.95{help}",
    ),
    (
        "a share to keep of 0%",
        "plan data --size 32 --keep 0% --out new",
        "invalid value '0%' for '--keep <SHARE>': expected a share such as 95% or 0.95{help}",
    ),
    (
        "a share to keep without a sign",
        "plan data --size 32 --keep 95 --out new",
        "invalid value '95' for '--keep <SHARE>': expected a share such as 95% or 0.95{help}",
    ),
    (
        "a share to keep that is no number",
        "plan data --size 32 --keep nan --out new",
        "invalid value 'nan' for '--keep <SHARE>': expected a share such as 95% or 0.95{help}",
    ),
    (
        "a memory of 4 apples",
        "plan data --size 32 --max-memory 4apples --out new",
        "invalid value '4apples' for '--max-memory <BYTES>': expected bytes such as 4MiB, 4MB or \
         4194304{help}",
    ),
    (
        "a memory of 0 bytes",
        "plan data --size 32 --max-memory 0 --out new",
        "invalid value '0' for '--max-memory <BYTES>': expected bytes such as 4MiB, 4MB or 4194304{help}",
    ),
    (
        "a time of 0",
        "plan data --size 32 --max-latency 0ms --out new",
        "invalid value '0ms' for '--max-latency <TIME>': expected a time such as 20ms, 0.5s or 20 \
         (milliseconds){help}",
    ),
    (
        "an input of 3 pixels",
        "measure data --size 3",
        "invalid value '3' for '--size <PIXELS>': expected a whole number from 16 to 4096{help}",
    ),
    (
        "an input of a million pixels",
        "measure data --size 1000000",
        "invalid value '1000000' for '--size <PIXELS>': expected a whole number from 16 to 4096{help}",
    ),
    (
        "an input that is no multiple of the network's",
        "train network.json data --size 33 --steps 1 --out out",
        "--size: rows and columns of the network's input: expected a multiple of 4, got 33",
    ),
    (
        "an unknown family",
        "network cost --network vnet",
        "--network: expected one of unet, cumednet, fc_densenet56, fc_densenet67, fc_densenet103, \
         attention_unet, resunet, unetpp, lean_unet, separable_unet, got vnet",
    ),
    ("a depth of 20", "network cost --depth 20", "--depth: expected 1 to 6, got 20"),
    ("a depth of 0", "network cost --depth 0", "--depth: expected 1 to 6, got 0"),
    ("a width of 0", "network cost --width 0", "--width: expected 1 to 1024, got 0"),
    (
        "a width of a million million",
        "network cost --width 1000000000000",
        "--width: expected 1 to 1024, got 1000000000000",
    ),
    ("0 classes", "network cost --classes 0", "--classes: expected 2 to 256, got 0"),
    ("1000 classes", "network cost --classes 1000", "--classes: expected 2 to 256, got 1000"),
    ("0 channels", "network cost --channels 0", "image channels: expected 1 to 1024, got 0"),
    ("a multiplier of 0", "network cost --multiplier 0", "--multiplier: expected a number above 0, at most 16, got 0"),
    (
        "a multiplier of -1",
        "network cost --multiplier=-1",
        "--multiplier: expected a number above 0, at most 16, got -1",
    ),
    (
        "a multiplier that is no number",
        "network cost --multiplier nan",
        "--multiplier: expected a number above 0, at most 16, got NaN",
    ),
    (
        "widths of a group that does not exist",
        "network cost --widths enc9=4",
        "--widths: expected groups among enc0, enc1, enc2, enc3, enc4, up3, dec3, up2, dec2, up1, dec1, \
         up0, dec0, got enc9",
    ),
    (
        "widths without a number",
        "network cost --widths enc0",
        "invalid value 'enc0' for '--widths <GROUP=N,...>': expected group=channels, for example \
         enc1=16,dec*=8{help}",
    ),
    (
        "widths of 0",
        "network cost --widths enc0=0",
        "invalid value 'enc0=0' for '--widths <GROUP=N,...>': expected group=channels, for example \
         enc1=16,dec*=8{help}",
    ),
    ("a divisor of 0", "network cost --divisor 0", "--divisor: expected 1 to 1024, got 0"),
    (
        "an axis that does not exist",
        "inspect data/images/nuclei-0003.png --axis w",
        "invalid value 'w' for '--axis <x|y|z>': expected x, y or z{help}",
    ),
    (
        "a sample of 0 images",
        "measure data --size 32 --sample 0",
        "invalid value '0' for '--sample <N>': expected a whole number from 1{help}",
    ),
    (
        "a JPEG quality of 101",
        "measure data --size 32 --jpeg-quality 101",
        "invalid value '101' for '--jpeg-quality <1-100>': 101 is not in 1..=100{help}",
    ),
    (
        "a precision that does not exist",
        "evaluate run data --precision fp8",
        "invalid value 'fp8' for '--precision <PRECISION>'\n\
         \x20\x20[possible values: f32, bf16, int8]{help}",
    ),
    (
        "a seed of -1",
        "train network.json data --size 32 --seed=-1 --out out",
        "invalid value '-1' for '--seed <SEED>': invalid digit found in string{help}",
    ),
    (
        "0 steps",
        "train network.json data --size 32 --steps 0 --out out",
        "invalid value '0' for '--steps <N>': expected a whole number from 1{help}",
    ),
    (
        "a tile of 0 pixels",
        "segment run data/images --out masks --tile 0",
        "invalid value '0' for '--tile <PIXELS>': expected a whole number from 16{help}",
    ),
    (
        "a phantom of an unknown kind",
        "phantom hearts --out set",
        "invalid value 'hearts' for '<KIND>'\n\
         \x20\x20[possible values: nuclei, glands, vessels, lesions, discs, scene]{help}",
    ),
    (
        "a phantom of 0 images",
        "phantom nuclei --count 0 --out set",
        "invalid value '0' for '--count <N>': 0 is not in 5..=100000{help}",
    ),
    (
        "a phantom of a million pixels",
        "phantom nuclei --size 1000000 --out set",
        "phantom size: expected 16 to 4096, got 1000000",
    ),
    (
        "a phantom over files",
        "phantom nuclei --out data",
        "data: expected a new or empty folder, found a folder with files in it\n\
         hint: choose another --out, or remove that folder first; nothing was changed",
    ),
    (
        "a bench of 0 images at a time",
        "bench --width 2 --size 32 --batch 0 --seconds 0.01",
        "batch: expected a positive multiple of 1, got 0",
    ),
    (
        "a bench of -1 seconds",
        "bench --width 2 --size 32 --seconds=-1",
        "invalid value '-1' for '--seconds <SECONDS>': expected a number of seconds from 0{help}",
    ),
    (
        "a report about nothing",
        "report",
        "the following required arguments were not provided:\n\
         \x20\x20<PLAN|RUN|PROFILE>...\n\n\
         Usage: segfit report <PLAN|RUN|PROFILE>...{help}",
    ),
    (
        "an export of nothing",
        "export run --out exported",
        "the following required arguments were not provided:\n\
         \x20\x20<--all|--onnx|--pytorch|--bioimageio|--monai|--c>\n\n\
         Usage: segfit export RUN --FORMAT... [OPTIONS]{help}",
    ),
    (
        "a jobs' number beyond the manifest",
        "calibrate run manifest.json --out work --index 99",
        "--index 99: the manifest has 1 jobs, counted from 0",
    ),
    (
        "an output below a file",
        "plan data --size 32 --max-params 20k --width 4 --out network.json/plan",
        "network.json/plan: expected a folder that can be made, found network.json, which is a file\n\
         hint: {spelling}",
    ),
    (
        "an output in a folder that is not there",
        "measure data --size 32 --out none/profile.json",
        "none/profile.json: {not there}\n\
         hint: {spelling}",
    ),
    (
        "an unknown shell",
        "completions tcsh",
        "invalid value 'tcsh' for '<SHELL>'\n\
         \x20\x20[possible values: bash, elvish, fish, powershell, zsh]\n\n\
         \x20\x20tip: a similar value exists: 'zsh'{help}",
    ),
];

pub fn cases() -> Vec<Case> {
    OPTIONS.iter().map(|(name, command, says)| Case::new(name, command, |_| (), says)).collect()
}
