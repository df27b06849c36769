//! Lives of the buffers and their places in the arena.

use std::cmp::Reverse;

use super::{Buffer, Schedule};

/// How many mended orders are tried where the arena is larger than what is alive at one time.
const ATTEMPTS: usize = 24;

/// Finds when each buffer lives and packs them: each at the lowest offset that is free for its whole life.
///
/// The order begins by size ("greedy by size", Pisarchyk and Lee 2020). While the arena is larger than what is alive at one
/// time, the buffer that ends highest moves to the front of the order; the smallest arena of all attempts is taken.
///
/// `pooled_early`: the output of a pooling has its memory from the step before it on ([`Schedule::pooled_with`]).
pub(super) fn assign(schedule: &mut Schedule, pooled_early: bool) {
    find_lives(schedule, pooled_early);
    let buffers = &schedule.buffers;
    let least = most_alive(buffers);
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (Reverse(buffers[i].floats), i));
    let mut best = (usize::MAX, Vec::new());
    for _ in 0..ATTEMPTS {
        let offsets = packed(buffers, &order);
        let end = |&position: &usize| offsets[order[position]] + buffers[order[position]].floats;
        let highest = (0..order.len()).max_by_key(|p| (end(p), Reverse(*p))).unwrap_or(0);
        let floats = if order.is_empty() { 0 } else { end(&highest) };
        if floats < best.0 {
            best = (floats, offsets.clone());
        }
        if best.0 <= least || highest == 0 {
            break;
        }
        order[..=highest].rotate_right(1);
    }
    for (buffer, offset) in schedule.buffers.iter_mut().zip(best.1) {
        buffer.offset = offset;
    }
    schedule.arena_floats = best.0;
}

/// Offsets of the buffers when they are placed in this order.
fn packed(buffers: &[Buffer], order: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    for &i in order {
        let buffer = &buffers[i];
        let mut rivals: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| buffers[j].born <= buffer.dies && buffer.born <= buffers[j].dies)
            .map(|&j| (offsets[j], offsets[j] + buffers[j].floats))
            .collect();
        rivals.sort_unstable();
        let mut offset = 0;
        for (start, end) in rivals {
            if offset + buffer.floats <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[i] = offset;
        placed.push(i);
    }
    offsets
}

/// Floats of the buffers that live at the same time, at the step where these are most: no arena can be smaller.
fn most_alive(buffers: &[Buffer]) -> usize {
    let at = |step: usize| buffers.iter().filter(|b| b.born <= step && step <= b.dies).map(|b| b.floats).sum();
    buffers.iter().map(|b| at(b.born)).max().unwrap_or(0)
}

/// The image is there before the first step, and the logits are read after the last one.
fn find_lives(schedule: &mut Schedule, pooled_early: bool) {
    let touch = |buffers: &mut [Buffer], tensor: usize, step: usize| {
        let buffer = &mut buffers[schedule.tensors[tensor].buffer];
        buffer.born = buffer.born.min(step);
        buffer.dies = buffer.dies.max(step);
    };
    let mut buffers = std::mem::take(&mut schedule.buffers);
    buffers.iter_mut().for_each(|b| (b.born, b.dies) = (usize::MAX, 0));
    touch(&mut buffers, schedule.input, 0);
    let steps = schedule.forward.iter().chain(&schedule.backward);
    let mut last = 0;
    for (index, step) in steps.enumerate() {
        for tensor in step.tensors() {
            touch(&mut buffers, tensor, index);
        }
        if let Some(pooled) = schedule.pooled_with(index).filter(|_| pooled_early) {
            touch(&mut buffers, pooled, index);
        }
        last = index;
    }
    touch(&mut buffers, schedule.output, last);
    schedule.buffers = buffers;
}
