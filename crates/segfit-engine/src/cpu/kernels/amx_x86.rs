//! The tile instructions, and the loops around them: see [`amx`](super::amx).

use std::arch::asm;

use super::amx::{MatrixRun, MatrixUpRun};
use super::dot::Dot;
use super::dot_x86::{Bf16Avx512, Int8Avx512};
use super::packed_tile::{Finish, pack_element, value};

/// Rows of a tile: output channels of the sums and the weights, planes of the inputs. Columns: 16 elements.
const SIDE: usize = 16;

/// Positions that are folded at a time.
const CHUNK: usize = 256;

/// Positions of a folded plane: a chunk and what the kernel's columns reach on both sides.
const FOLDED: usize = CHUNK + 2 * SIDE;

/// A kind of tile product: sums (tile C) += weights (tile A) x inputs (tile B).
trait Product: Dot {
    unsafe fn multiply<const C: usize, const A: usize, const B: usize>();

    /// The element of channels whose rows of sums begin at `sums`.
    #[inline(always)]
    unsafe fn pack_rows(sums: *const u32, finish: &Finish) -> Self::E {
        // SAFETY: the caller's.
        unsafe {
            let mut rows = [Self::load_sums(sums); 4];
            rows[1] = Self::load_sums(sums.add(SIDE));
            if Self::SLOTS == 4 {
                rows[2] = Self::load_sums(sums.add(2 * SIDE));
                rows[3] = Self::load_sums(sums.add(3 * SIDE));
            }
            pack_element::<Self>(&rows, 0, finish)
        }
    }
}

/// One instruction on tiles C, A and B; only the combinations that the kernel uses.
macro_rules! multiply {
    ($signed:literal) => {
        #[inline(always)]
        unsafe fn multiply<const C: usize, const A: usize, const B: usize>() {
            // SAFETY: touches tile registers only, which nobody else uses.
            unsafe {
                match (C, A, B) {
                    (0, 4, 6) => asm!(concat!($signed, " tmm0, tmm4, tmm6"), options(nostack, nomem)),
                    (1, 4, 7) => asm!(concat!($signed, " tmm1, tmm4, tmm7"), options(nostack, nomem)),
                    (1, 5, 6) => asm!(concat!($signed, " tmm1, tmm5, tmm6"), options(nostack, nomem)),
                    (2, 4, 6) => asm!(concat!($signed, " tmm2, tmm4, tmm6"), options(nostack, nomem)),
                    (2, 4, 7) => asm!(concat!($signed, " tmm2, tmm4, tmm7"), options(nostack, nomem)),
                    (3, 4, 7) => asm!(concat!($signed, " tmm3, tmm4, tmm7"), options(nostack, nomem)),
                    (3, 5, 7) => asm!(concat!($signed, " tmm3, tmm5, tmm7"), options(nostack, nomem)),
                    _ => unreachable!(),
                }
            }
        }
    };
}

impl Product for Int8Avx512 {
    // Signed weights, unsigned inputs.
    multiply!("tdpbsud");
}

impl Product for Bf16Avx512 {
    multiply!("tdpbf16ps");
}

/// Loads tile T with rows `stride` bytes apart.
#[inline(always)]
unsafe fn load<const T: usize>(p: *const u32, stride: usize) {
    // SAFETY: reads the rows that the tile's shape says; the caller vouches for them.
    unsafe {
        match T {
            4 => asm!("tileloadd tmm4, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
            5 => asm!("tileloadd tmm5, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
            6 => asm!("tileloadd tmm6, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
            7 => asm!("tileloadd tmm7, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
            _ => unreachable!(),
        }
    }
}

/// Stores tile 0, 1, 2 or 3 with rows of 64 bytes.
#[inline(always)]
unsafe fn store(tile: usize, p: *mut u32) {
    let stride = 4 * SIDE;
    // SAFETY: writes 16 rows at most; the caller vouches for them.
    unsafe {
        match tile {
            0 => asm!("tilestored [{p} + {s}], tmm0", p = in(reg) p, s = in(reg) stride, options(nostack)),
            1 => asm!("tilestored [{p} + {s}], tmm1", p = in(reg) p, s = in(reg) stride, options(nostack)),
            2 => asm!("tilestored [{p} + {s}], tmm2", p = in(reg) p, s = in(reg) stride, options(nostack)),
            3 => asm!("tilestored [{p} + {s}], tmm3", p = in(reg) p, s = in(reg) stride, options(nostack)),
            _ => unreachable!(),
        }
    }
}

#[inline(always)]
unsafe fn zero_sums() {
    // SAFETY: tile registers only.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
    }
}

/// Shapes of the eight tiles, in the processor's format: palette 1, bytes per row from byte 16, rows from byte 48.
#[repr(C, align(64))]
struct Shapes([u8; 64]);

/// Sums in tiles 0 to 3, weights in 4 and 5, inputs in 6 and 7. Tiles 1, 3 and 5 have `second` rows of outputs.
unsafe fn set_shapes(first: usize, second: usize, depth: usize) {
    let mut shapes = Shapes([0; 64]);
    shapes.0[0] = 1;
    let rows = [first, second, first, second, first, second, depth, depth];
    for (tile, rows) in rows.into_iter().enumerate() {
        let columns = if tile == 4 || tile == 5 { depth } else { SIDE };
        (shapes.0[16 + 2 * tile], shapes.0[48 + tile]) = ((4 * columns) as u8, rows as u8);
    }
    // SAFETY: 64 bytes are read; the tile registers belong to this thread until they are released.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
}

/// Sums of four tiles.
#[repr(C, align(64))]
struct Sums([u32; 4 * SIDE * SIDE]);

/// Where the sums of a tile go.
#[derive(Clone, Copy)]
struct Goal {
    y: *mut u32,
    finish: Finish,
    rows: usize,
    /// Elements to store of every channel: 16, or of two neighbouring columns up to 32.
    width: usize,
}

/// What the rows of a tile are: channels to be packed, channels to be stored as f32, or the channels of the even columns and
/// then those of the odd columns.
type Kind = u8;
const PACKED: Kind = 0;
const FLOATS: Kind = 1;
const UP: Kind = 2;

/// Sums that wait to become values. That is done a few channels at a time between the products of the next tiles, which leave
/// the vector units idle.
struct Waiting<const KIND: Kind> {
    memory: [Sums; 2],
    /// Which of the two is waiting; the other is free.
    current: usize,
    goals: [Goal; 4],
    count: usize,
    tile: usize,
    /// The next channels of the tile under way: their sums, place and constants, and how many are left.
    sums: *const u32,
    next: Goal,
    left: usize,
    /// Elements from one plane of the output to the next.
    y_stride: usize,
}

impl<const KIND: Kind> Waiting<KIND> {
    fn new(y_stride: usize) -> Self {
        let null = std::ptr::null();
        let finish = Finish { scale: null, bias: null, relu: false, floats: 0 };
        let next = Goal { y: std::ptr::null_mut(), finish, rows: 0, width: 0 };
        let memory = [Sums([0; 4 * SIDE * SIDE]), Sums([0; 4 * SIDE * SIDE])];
        Self {
            memory,
            current: 0,
            goals: [next; 4],
            count: 0,
            tile: 0,
            sums: std::ptr::null(),
            next,
            left: 0,
            y_stride,
        }
    }

    /// Steps that tiles with so many rows in all need.
    #[inline(always)]
    fn steps<P: Product>(rows: usize) -> usize {
        rows / if KIND == UP { 2 * P::SLOTS } else { P::SLOTS } + 4
    }

    /// Takes the sums of the tiles out of the registers.
    #[inline(always)]
    unsafe fn take<P: Product>(&mut self, goals: [Goal; 4], count: usize) {
        // SAFETY: a tile has at most 16 rows of 16 sums.
        unsafe {
            self.flush::<P>();
            self.current = 1 - self.current;
            let sums = self.memory[self.current].0.as_mut_ptr();
            store(0, sums);
            store(1, sums.add(SIDE * SIDE));
            store(2, sums.add(2 * SIDE * SIDE));
            store(3, sums.add(3 * SIDE * SIDE));
        }
        (self.goals, self.count, self.tile) = (goals, count, 0);
        self.begin();
    }

    /// Turns to the tile in `self.tile`, if there is one.
    #[inline(always)]
    fn begin(&mut self) {
        if self.tile < self.count {
            self.next = self.goals[self.tile];
            self.sums = self.memory[self.current].0[self.tile * SIDE * SIDE..].as_ptr();
            self.left = if KIND == UP { self.next.rows / 2 } else { self.next.rows };
        }
    }

    #[inline(always)]
    unsafe fn flush<P: Product>(&mut self) {
        while self.left > 0 {
            // SAFETY: the caller's.
            unsafe { self.step::<P>() };
        }
    }

    /// Stores one element of channels.
    #[inline(always)]
    unsafe fn step<P: Product>(&mut self) {
        if self.left == 0 {
            return;
        }
        let Goal { y, finish, rows, width } = self.next;
        // SAFETY: the goal's memory is the caller's.
        unsafe {
            if KIND == FLOATS {
                for c in 0..P::SLOTS.min(finish.floats).min(self.left) {
                    let sums = P::load_sums(self.sums.add(c * SIDE));
                    P::store_floats(y.wrapping_add(c * self.y_stride).cast(), value::<P>(sums, c, &finish));
                }
                self.next.y = y.wrapping_add(P::SLOTS * self.y_stride);
                self.next.finish.floats = finish.floats.saturating_sub(P::SLOTS);
            } else {
                let even = P::pack_rows(self.sums, &finish);
                if KIND == UP {
                    let odd = P::pack_rows(self.sums.add(rows / 2 * SIDE), &finish);
                    let (low, high) = P::interleave(even, odd);
                    P::store_first(y, width, low);
                    P::store_first(y.wrapping_add(SIDE), width.saturating_sub(SIDE), high);
                } else {
                    P::store(y, even);
                }
                self.next.y = y.wrapping_add(self.y_stride);
            }
        }
        self.sums = self.sums.wrapping_add(P::SLOTS * SIDE);
        self.next.finish.scale = finish.scale.wrapping_add(P::SLOTS);
        self.next.finish.bias = finish.bias.wrapping_add(P::SLOTS);
        self.left = self.left.saturating_sub(P::SLOTS);
        if self.left == 0 {
            self.tile += 1;
            self.begin();
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn convolve_int8(run: &MatrixRun<'_>) {
    // SAFETY: the caller's.
    unsafe { convolve::<Int8Avx512>(run) }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
pub(super) unsafe fn convolve_bf16(run: &MatrixRun<'_>) {
    // SAFETY: the caller's.
    unsafe { convolve::<Bf16Avx512>(run) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn up_int8(run: &MatrixUpRun) {
    // SAFETY: the caller's.
    unsafe { up::<Int8Avx512>(run) }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
pub(super) unsafe fn up_bf16(run: &MatrixUpRun) {
    // SAFETY: the caller's.
    unsafe { up::<Bf16Avx512>(run) }
}

#[inline(always)]
unsafe fn convolve<P: Product>(run: &MatrixRun<'_>) {
    // SAFETY: the caller's.
    unsafe {
        if run.finish.floats > 0 {
            convolve_kind::<P, FLOATS>(run);
        } else {
            convolve_kind::<P, PACKED>(run);
        }
    }
}

#[inline(always)]
unsafe fn convolve_kind<P: Product, const KIND: Kind>(run: &MatrixRun<'_>) {
    let mut waiting = Waiting::<KIND>::new(run.plane_stride);
    // SAFETY: the caller's; the tiles are released in the end.
    unsafe {
        if run.steps.folded {
            let reach = (run.shifts.len().isqrt() / 2) as isize;
            let columns: Vec<isize> = (-reach..=reach).collect();
            let mut folded = vec![0_u32; run.steps.depth * run.steps.parts * FOLDED];
            for start in (run.start..run.end).step_by(CHUNK) {
                let end = run.end.min(start + CHUNK);
                fold(run, start, end - start, &mut folded);
                // Position q of the planes is SIDE + q - start of the folded ones.
                let x = folded.as_ptr().wrapping_add(SIDE).wrapping_sub(start);
                let inputs = Inputs { x, stride: FOLDED, shifts: &columns };
                blocks::<P, KIND>(run, &inputs, start, end, &mut waiting);
                waiting.flush::<P>();
            }
        } else {
            let inputs = Inputs { x: run.x, stride: run.plane_stride, shifts: run.shifts };
            blocks::<P, KIND>(run, &inputs, run.start, run.end, &mut waiting);
        }
        waiting.flush::<P>();
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Copies the planes, shifted by every row of the kernel, next to each other.
#[inline(always)]
unsafe fn fold(run: &MatrixRun<'_>, start: usize, positions: usize, folded: &mut [u32]) {
    let size = run.shifts.len().isqrt();
    let copied = positions.next_multiple_of(4 * SIDE) + 2 * SIDE;
    for (k, to) in folded.chunks_exact_mut(FOLDED).enumerate() {
        // The middle column of a row of the kernel.
        let shift = run.shifts[k / run.planes * size + size / 2];
        // SAFETY: what lies before and behind the planes can be read.
        unsafe {
            let from = run.x.add(k % run.planes * run.plane_stride + start).offset(shift - SIDE as isize);
            for i in (0..copied.min(FOLDED)).step_by(SIDE) {
                Int8Avx512::store(to.as_mut_ptr().add(i), Int8Avx512::load(from.add(i)));
            }
        }
    }
}

/// What the products read.
struct Inputs<'a> {
    x: *const u32,
    /// Elements from one plane to the next.
    stride: usize,
    shifts: &'a [isize],
}

/// All output channels at the positions from `start` to `end`.
#[inline(always)]
unsafe fn blocks<P: Product, const KIND: Kind>(
    run: &MatrixRun<'_>,
    x: &Inputs<'_>,
    start: usize,
    end: usize,
    waiting: &mut Waiting<KIND>,
) {
    let per_output = run.steps.parts * x.shifts.len() * run.steps.depth;
    let mut first = 0;
    while first < run.outputs {
        let rows = SIDE.min(run.outputs - first);
        let second = SIDE.min(run.outputs - first - rows);
        // SAFETY: the caller's.
        unsafe {
            let weights = run.weights.add(first * per_output);
            let other = weights.wrapping_add(rows * per_output);
            let goal = |after: usize, rows: usize, q: usize| Goal {
                y: run.y.wrapping_add(
                    q + (first + after) / if run.finish.floats > 0 { 1 } else { P::SLOTS } * run.plane_stride,
                ),
                finish: Finish {
                    scale: run.finish.scale.wrapping_add(first + after),
                    bias: run.finish.bias.wrapping_add(first + after),
                    floats: run.finish.floats.saturating_sub(first + after),
                    ..run.finish
                },
                rows,
                width: SIDE,
            };
            set_shapes(rows, if second > 0 { second } else { rows }, run.steps.depth);
            let loops = Loops { x, depth: run.steps.depth, parts: run.steps.parts };
            let mut q = start;
            while q < end {
                // What lies behind the end is computed, too, but not stored.
                if second > 0 {
                    loops.two_by_two::<P, _>(q, weights, other, rows, second, waiting);
                    let goals = [
                        goal(0, rows, q),
                        goal(rows, second, q),
                        goal(0, rows, q + SIDE),
                        goal(rows, second, q + SIDE),
                    ];
                    waiting.take::<P>(goals, 2 * ((end - q) / SIDE).min(2));
                    q += 2 * SIDE;
                } else {
                    loops.one_by_four::<P, _>(q, weights, rows, waiting);
                    let goals = [0, 1, 2, 3].map(|v| goal(0, rows, q + v * SIDE));
                    waiting.take::<P>(goals, ((end - q) / SIDE).min(4));
                    q += 4 * SIDE;
                }
            }
        }
        first += rows + second;
    }
}

#[inline(always)]
unsafe fn up<P: Product>(run: &MatrixUpRun) {
    let rows = 2 * run.channels;
    let mut waiting = Waiting::<UP>::new(run.y_stride);
    // SAFETY: the caller's; the tiles are released in the end.
    unsafe {
        set_shapes(rows, rows, run.depth);
        let lower = run.weights.add(run.parts * rows * run.depth);
        for row in 0..run.rows {
            let x = run.x.add(row * run.x_row_stride);
            let loops =
                Loops { x: &Inputs { x, stride: run.x_stride, shifts: &[0] }, depth: run.depth, parts: run.parts };
            for q in (0..run.width).step_by(2 * SIDE) {
                loops.two_by_two::<P, _>(q, run.weights, lower, rows, rows, &mut waiting);
                let goal = |a: usize, v: usize| Goal {
                    y: run.y.wrapping_add((2 * row + a) * run.y_row_stride + 2 * (q + v * SIDE)),
                    finish: run.finish,
                    rows,
                    width: 2 * run.width.saturating_sub(q + v * SIDE),
                };
                let count = if q + SIDE < run.width { 4 } else { 2 };
                waiting.take::<P>([goal(0, 0), goal(1, 0), goal(0, 1), goal(1, 1)], count);
            }
        }
        waiting.flush::<P>();
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// The loops over planes and kernel positions. Meanwhile waiting sums become values.
struct Loops<'a> {
    x: &'a Inputs<'a>,
    depth: usize,
    parts: usize,
}

impl Loops<'_> {
    /// Two blocks of outputs at 32 positions: tiles 0 and 1 are the blocks at the first 16, 2 and 3 at the others.
    #[inline(always)]
    unsafe fn two_by_two<P: Product, const KIND: Kind>(
        &self,
        q: usize,
        mut first: *const u32,
        mut second: *const u32,
        rows: usize,
        second_rows: usize,
        waiting: &mut Waiting<KIND>,
    ) {
        let (stride, columns) = (4 * self.x.stride, 4 * self.depth);
        let steps = Waiting::<KIND>::steps::<P>(2 * (rows + second_rows)).div_ceil(self.parts * self.x.shifts.len());
        // SAFETY: the caller's.
        unsafe {
            zero_sums();
            for part in 0..self.parts {
                let x = self.x.x.wrapping_add(part * self.depth * self.x.stride + q);
                for &shift in self.x.shifts {
                    let at = x.wrapping_offset(shift);
                    load::<6>(at, stride);
                    load::<4>(first, columns);
                    P::multiply::<0, 4, 6>();
                    load::<5>(second, columns);
                    P::multiply::<1, 5, 6>();
                    load::<7>(at.wrapping_add(SIDE), stride);
                    P::multiply::<2, 4, 7>();
                    P::multiply::<3, 5, 7>();
                    first = first.wrapping_add(rows * self.depth);
                    second = second.wrapping_add(second_rows * self.depth);
                    for _ in 0..steps {
                        waiting.step::<P>();
                    }
                }
            }
        }
    }

    /// One block of outputs at 64 positions.
    #[inline(always)]
    unsafe fn one_by_four<P: Product, const KIND: Kind>(
        &self,
        q: usize,
        mut weights: *const u32,
        rows: usize,
        waiting: &mut Waiting<KIND>,
    ) {
        let (stride, columns) = (4 * self.x.stride, 4 * self.depth);
        let steps = Waiting::<KIND>::steps::<P>(4 * rows).div_ceil(self.parts * self.x.shifts.len());
        // SAFETY: the caller's.
        unsafe {
            zero_sums();
            for part in 0..self.parts {
                let x = self.x.x.wrapping_add(part * self.depth * self.x.stride + q);
                for &shift in self.x.shifts {
                    let at = x.wrapping_offset(shift);
                    load::<4>(weights, columns);
                    load::<6>(at, stride);
                    P::multiply::<0, 4, 6>();
                    load::<7>(at.wrapping_add(SIDE), stride);
                    P::multiply::<1, 4, 7>();
                    load::<6>(at.wrapping_add(2 * SIDE), stride);
                    P::multiply::<2, 4, 6>();
                    load::<7>(at.wrapping_add(3 * SIDE), stride);
                    P::multiply::<3, 4, 7>();
                    weights = weights.wrapping_add(rows * self.depth);
                    for _ in 0..steps {
                        waiting.step::<P>();
                    }
                }
            }
        }
    }
}
