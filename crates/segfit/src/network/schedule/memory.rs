//! Lives of the buffers and their places in the arena.

use super::Schedule;

/// Finds when each buffer lives and packs them: largest first, each at the lowest offset that is free for its whole
/// life ("greedy by size", Pisarchyk and Lee 2020).
pub(super) fn assign(schedule: &mut Schedule) {
    find_lives(schedule);
    let mut order: Vec<usize> = (0..schedule.buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(schedule.buffers[i].floats), i));
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        let buffer = &schedule.buffers[i];
        let mut rivals: Vec<(usize, usize)> = placed
            .iter()
            .map(|&j| &schedule.buffers[j])
            .filter(|b| b.born <= buffer.dies && buffer.born <= b.dies)
            .map(|b| (b.offset, b.offset + b.floats))
            .collect();
        rivals.sort_unstable();
        let mut offset = 0;
        for (start, end) in rivals {
            if offset + buffer.floats <= start {
                break;
            }
            offset = offset.max(end);
        }
        schedule.buffers[i].offset = offset;
        placed.push(i);
    }
    schedule.arena_floats = schedule.buffers.iter().map(|b| b.offset + b.floats).max().unwrap_or(0);
}

/// The image is there before the first step, and the logits are read after the last one.
fn find_lives(schedule: &mut Schedule) {
    let touch = |buffers: &mut [super::Buffer], tensor: usize, step: usize| {
        let buffer = &mut buffers[schedule.tensors[tensor].buffer];
        buffer.born = buffer.born.min(step);
        buffer.dies = buffer.dies.max(step);
    };
    let mut buffers = std::mem::take(&mut schedule.buffers);
    touch(&mut buffers, schedule.input, 0);
    let steps = schedule.forward.iter().chain(&schedule.backward);
    let mut last = 0;
    for (index, step) in steps.enumerate() {
        for tensor in step.tensors() {
            touch(&mut buffers, tensor, index);
        }
        if let Some(pooled) = schedule.pooled_with(index) {
            touch(&mut buffers, pooled, index);
        }
        last = index;
    }
    touch(&mut buffers, schedule.output, last);
    schedule.buffers = buffers;
}
