//! The loss of a run's network at the first step of further training, for comparison with other programs.
//!
//! `cargo run --release -p segfit-engine --example first_loss -- RUN BATCH ROWS COLUMNS IMAGES TARGETS`
//!
//! IMAGES holds normalised 32-bit floats, `[batch][channels][rows][columns]`, TARGETS one byte per pixel, both without
//! a header. Auxiliary heads and dropout are left out. Prints the loss.

use std::path::Path;

use segfit::network::Op;
use segfit::network::schedule::{Mode, Schedule};
use segfit_engine::backend::{Backend as _, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::state::State;

#[expect(clippy::print_stdout, reason = "it prints one number")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, batch, rows, columns, images, targets] = arguments.as_slice() else {
        return Err("expected RUN BATCH ROWS COLUMNS IMAGES TARGETS".into());
    };
    let run = RunFolder::open(Path::new(run))?;
    let weights = run.weights()?;
    let mut spec = run.network;
    for layer in &mut spec.layers {
        if let Op::Dropout { p } = &mut layer.op {
            *p = 0.0;
        }
    }
    let bytes = std::fs::read(images)?;
    let images: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let schedule = Schedule::new(&spec, Mode::Train, batch.parse()?, rows.parse()?, columns.parse()?)?;
    let training = TrainingSpec { loss: run.info.recipe.loss, optimiser: Optimiser::Sgd, average_decay: 0.0, seed: 0 };
    let mut executor = CpuBackend::detect().compile(&spec, schedule, Some(training))?;
    executor.set_state(State::fresh(weights))?;
    println!("{:.12}", executor.train_step(&images, &std::fs::read(targets)?, None, 0.0)?.total);
    Ok(())
}
