//! Lives of the buffers and their places in the arena.

use std::cmp::Reverse;

use super::{Buffer, Schedule};

/// Finds when each buffer lives and packs them: each at the lowest offset that is free for its whole life, in the order
/// that needs the smallest arena: by size ("greedy by size", Pisarchyk and Lee 2020), by birth, or by length of life. No
/// order is best for all networks, and the best of several leaves fewer gaps.
pub(super) fn assign(schedule: &mut Schedule) {
    find_lives(schedule);
    let buffers = &schedule.buffers;
    let least = most_alive(buffers);
    let orders: [fn(&Buffer) -> [Reverse<usize>; 2]; 4] = [
        |b| [Reverse(b.floats), Reverse(0)],
        |b| [Reverse(usize::MAX - b.born), Reverse(b.floats)],
        |b| [Reverse(b.dies - b.born), Reverse(b.floats)],
        |b| [Reverse(b.dies), Reverse(b.floats)],
    ];
    let mut best: Option<(usize, Vec<usize>)> = None;
    for order in orders {
        if best.as_ref().is_some_and(|(floats, _)| *floats == least) {
            break;
        }
        let offsets = packed(buffers, order);
        let floats = buffers.iter().zip(&offsets).map(|(b, offset)| offset + b.floats).max().unwrap_or(0);
        if best.as_ref().is_none_or(|(least, _)| floats < *least) {
            best = Some((floats, offsets));
        }
    }
    let (floats, offsets) = best.unwrap_or_default();
    for (buffer, offset) in schedule.buffers.iter_mut().zip(offsets) {
        buffer.offset = offset;
    }
    schedule.arena_floats = floats;
}

/// Offsets of the buffers when they are placed in this order.
fn packed<K: Ord>(buffers: &[Buffer], key: impl Fn(&Buffer) -> K) -> Vec<usize> {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (key(&buffers[i]), i));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
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
fn find_lives(schedule: &mut Schedule) {
    let touch = |buffers: &mut [Buffer], tensor: usize, step: usize| {
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
