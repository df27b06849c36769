//! Where concatenated tensors live: blocks of memory that several concatenations share, so that little is copied.
//!
//! Concatenations of concatenations are flattened to their *leaves*, the tensors that are computed. In a dense block
//! \[a, b], \[a, b, c] and \[a, b, c, d] are runs of one block; so are \[a, b] and \[b, c] in a block a b c. Every leaf has one
//! *home*, the place where it is computed; elsewhere it is copied to.

use super::super::spec::{NetworkSpec, Op};
use super::graph::Graph;

/// Blocks and what lies in them.
pub(super) struct Places {
    /// By block: the leaves (layers), in the order of their channels.
    pub(super) blocks: Vec<Vec<usize>>,
    /// By layer, for concatenations and for leaves that have their home in a block: block and (first) leaf there.
    pub(super) of: Vec<Option<(usize, usize)>>,
    /// By layer: the leaves of a concatenation, empty for others.
    pub(super) leaves: Vec<Vec<usize>>,
}

impl Places {
    pub(super) fn find(spec: &NetworkSpec, graph: &Graph) -> Self {
        let n = spec.layers.len();
        let is_concat = |i: usize| graph.needed[i] && spec.layers[i].op == Op::Concat;
        let mut leaves: Vec<Vec<usize>> = vec![Vec::new(); n];
        for i in (0..n).filter(|&i| is_concat(i)) {
            let of_input = |&j: &usize| if is_concat(j) { leaves[j].clone() } else { vec![j] };
            leaves[i] = graph.inputs[i].iter().flat_map(of_input).collect();
        }
        let mut order: Vec<usize> = (0..n).filter(|&i| is_concat(i)).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(leaves[i].len()), i));
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        for &i in &order {
            place(&mut blocks, &leaves[i]);
        }
        let mut of = vec![None; n];
        for (b, block) in blocks.iter().enumerate() {
            for (at, &leaf) in block.iter().enumerate() {
                of[leaf] = of[leaf].or(Some((b, at)));
            }
        }
        for &i in &order {
            of[i] = blocks.iter().enumerate().find_map(|(b, block)| Some((b, run_of(block, &leaves[i])?)));
        }
        Self { blocks, of, leaves }
    }

    /// Whether the leaf at a place of a block was computed elsewhere.
    pub(super) fn is_copy(&self, block: usize, at: usize) -> bool {
        self.of[self.blocks[block][at]] != Some((block, at))
    }
}

/// Where `leaves` stand in a row in a block.
fn run_of(block: &[usize], leaves: &[usize]) -> Option<usize> {
    block.windows(leaves.len()).position(|run| run == leaves)
}

/// Finds or makes a run of `leaves`: in a block that has it, in one that has the beginning of it at its end (or the end at its
/// beginning) where all the others are at home nowhere, or in a new block.
fn place(blocks: &mut Vec<Vec<usize>>, leaves: &[usize]) {
    if blocks.iter().any(|block| run_of(block, leaves).is_some()) {
        return;
    }
    let homeless = |more: &[usize]| {
        more.iter().enumerate().all(|(k, leaf)| !more[..k].contains(leaf) && !blocks.iter().any(|b| b.contains(leaf)))
    };
    for shared in (1..leaves.len()).rev() {
        let (head, more) = leaves.split_at(shared);
        if homeless(more)
            && let Some(b) = blocks.iter().position(|b| b.ends_with(head))
        {
            blocks[b].extend(more);
            return;
        }
        let (more, tail) = leaves.split_at(leaves.len() - shared);
        if homeless(more)
            && let Some(b) = blocks.iter().position(|b| b.starts_with(tail))
        {
            blocks[b].splice(0..0, more.iter().copied());
            return;
        }
    }
    blocks.push(leaves.to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_concatenations_share_a_block() {
        let mut blocks = Vec::new();
        for leaves in [&[1, 2, 3, 4][..], &[2, 3], &[1, 2, 3], &[4, 5], &[0, 1]] {
            place(&mut blocks, leaves);
        }
        assert_eq!(blocks, [[0, 1, 2, 3, 4, 5]]);
        place(&mut blocks, &[5, 1]);
        assert_eq!(blocks[1..], [[5, 1]], "1 is at home in the first block");
        place(&mut blocks, &[7, 7]);
        assert_eq!(blocks[2..], [[7, 7]]);
    }
}
