//! Threads that share numbered pieces of work within a fraction of a microsecond.
//!
//! Waking a sleeping thread takes as long as a whole layer of a narrow network. So [`with_team`] wakes the threads of the
//! current `rayon` pool once, for a whole run of a network; until it ends they watch a board on which [`for_each`] writes
//! down the next pieces. Pieces write to disjoint places, so that who runs which does not matter to the result. But it
//! matters to the caches: every thread begins with its own run of neighbouring pieces, the same share of every job, and
//! helps the others when it is through.

use std::cell::{Cell, UnsafeCell};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Looks at the board before a waiting thread lets others have its core (a pause takes 10 to 50 nanoseconds).
const PATIENCE: u32 = 4096;

thread_local! {
    /// The board of the team that this thread leads.
    static BOARD: Cell<*const Board> = const { Cell::new(null()) };
    /// The number of this thread in its team.
    static MEMBER: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread runs a piece at the moment.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with all threads of the current pool at hand for [`for_each`].
pub fn with_team<R>(f: impl FnOnce() -> R) -> R {
    let threads = rayon::current_num_threads();
    if threads == 1 || INSIDE.get() || !BOARD.get().is_null() {
        return f();
    }
    let board = &Board::new(threads);
    rayon::in_place_scope(|scope| {
        for member in 1..threads {
            scope.spawn(move |_| board.help(member));
        }
        let _lead = Lead::of(board);
        f()
    })
}

/// The most pieces that run at the same time.
#[must_use]
pub fn size() -> usize {
    rayon::current_num_threads()
}

/// A number below [`size`] that no other running piece of the same job has: for memory of its own.
#[must_use]
pub fn member() -> usize {
    MEMBER.get()
}

/// Runs `piece(0)`, ..., `piece(pieces - 1)`, shared among the team; one after the other inside of another piece.
pub fn for_each(pieces: usize, piece: impl Fn(usize) + Sync) {
    if pieces < 2 || INSIDE.get() || rayon::current_num_threads() == 1 {
        (0..pieces).for_each(piece);
        return;
    }
    with_team(|| {
        // SAFETY: the board lives in the frame of `with_team`, which the thread that set `BOARD` has not left.
        unsafe { (*BOARD.get()).share(pieces, &piece) }
    });
}

/// A number in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

/// The work that is being shared.
#[derive(Debug)]
struct Board {
    /// Pieces that nobody has begun, a run for each member. Whoever takes one off may run it; as long as that piece is not
    /// done, the leader waits and `job` stays as it is.
    open: Vec<Line<Run>>,
    done: Line<AtomicUsize>,
    job: Line<UnsafeCell<Job>>,
    failed: AtomicBool,
    closed: AtomicBool,
}

/// The pieces from `next` to `end` (exclusive), in the lower and upper half.
#[derive(Debug, Default)]
struct Run(AtomicU64);

impl Run {
    fn packed(next: usize, end: usize) -> u64 {
        next as u64 | (end as u64) << 32
    }

    fn unpacked(run: u64) -> (usize, usize) {
        ((run & 0xFFFF_FFFF) as usize, (run >> 32) as usize)
    }

    /// Takes the first piece off, or the last.
    fn take(&self, first: bool) -> Option<usize> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (next, end) = Self::unpacked(seen);
            if next == end {
                return None;
            }
            let (piece, rest) = if first { (next, (next + 1, end)) } else { (end - 1, (next, end - 1)) };
            let rest = Self::packed(rest.0, rest.1);
            match self.0.compare_exchange_weak(seen, rest, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(piece),
                Err(now) => seen = now,
            }
        }
    }
}

/// A closure without its type.
#[derive(Debug)]
struct Job {
    closure: *const (),
    /// Calls the closure.
    call: unsafe fn(*const (), usize),
}

impl Default for Job {
    fn default() -> Self {
        unsafe fn nothing(_: *const (), _: usize) {}
        Self { closure: null(), call: nothing }
    }
}

// SAFETY: `job` is written by the leader only, while no piece is open or running, and read by threads that have taken a
// piece; `open` carries the order between the two. The closure behind it is `Sync`.
unsafe impl Sync for Board {}

impl Board {
    fn new(members: usize) -> Self {
        Self {
            open: (0..members).map(|_| Line::default()).collect(),
            done: Line::default(),
            job: Line::default(),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes part until the leader closes the board.
    fn help(&self, member: usize) {
        MEMBER.set(member);
        let mut idle = 0;
        loop {
            if self.run_one(member) {
                idle = 0;
            } else if self.closed.load(Ordering::Acquire) {
                MEMBER.set(0);
                return;
            } else {
                wait(&mut idle);
            }
        }
    }

    /// Runs a piece of this member's, or of another's, if one is open.
    fn run_one(&self, member: usize) -> bool {
        let others = (1..self.open.len()).map(|k| (member + k) % self.open.len());
        let taken =
            self.open[member].0.take(true).or_else(|| others.into_iter().find_map(|m| self.open[m].0.take(false)));
        let Some(piece) = taken else { return false };
        // SAFETY: this thread has taken a piece, so that the leader keeps job and closure until `done` counts it.
        unsafe {
            let job = &*self.job.0.get();
            let _counted = Counted(self, INSIDE.replace(true));
            (job.call)(job.closure, piece);
        }
        true
    }

    /// Writes a job down, takes part in it and waits for its end. Only the leader calls it.
    fn share<F: Fn(usize) + Sync>(&self, pieces: usize, piece: &F) {
        assert!(u32::try_from(pieces).is_ok(), "{pieces} pieces");
        unsafe fn call<F: Fn(usize)>(closure: *const (), k: usize) {
            // SAFETY: made from a reference to an F below.
            unsafe { (*closure.cast::<F>())(k) };
        }
        self.done.0.store(0, Ordering::Relaxed);
        // SAFETY: the last job is done and no piece is open, so that nobody looks at it.
        unsafe { *self.job.0.get() = Job { closure: std::ptr::from_ref(piece).cast(), call: call::<F> } };
        let members = self.open.len();
        for (member, run) in self.open.iter().enumerate() {
            let (next, end) = (member * pieces / members, (member + 1) * pieces / members);
            run.0.0.store(Run::packed(next, end), Ordering::Release);
        }
        let end = End { board: self, pieces };
        while self.run_one(0) {}
        drop(end);
        assert!(!self.failed.load(Ordering::Acquire), "a piece of work failed on another thread");
    }
}

/// Counts a piece as done, also when it panics.
struct Counted<'a>(&'a Board, bool);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        INSIDE.set(self.1);
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Release);
        }
        self.0.done.0.fetch_add(1, Ordering::Release);
    }
}

/// Waits until nobody runs a piece of the job any more; when the leader panics, the rest is called off.
struct End<'a> {
    board: &'a Board,
    pieces: usize,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let left = |run: &Line<Run>| {
            let (next, end) = Run::unpacked(run.0.0.swap(0, Ordering::Relaxed));
            end - next
        };
        let begun = self.pieces - self.board.open.iter().map(left).sum::<usize>();
        let mut idle = 0;
        while self.board.done.0.load(Ordering::Acquire) < begun {
            wait(&mut idle);
        }
    }
}

/// The time in which this thread leads a team.
struct Lead<'a>(&'a Board);

impl<'a> Lead<'a> {
    fn of(board: &'a Board) -> Self {
        BOARD.set(board);
        Self(board)
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        BOARD.set(null());
        self.0.closed.store(true, Ordering::Release);
    }
}

fn wait(idle: &mut u32) {
    *idle += 1;
    if *idle < PATIENCE {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn in_pool(threads: usize, f: impl FnOnce() + Send) {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f);
    }

    #[test]
    fn every_piece_of_many_jobs_runs_once() {
        for threads in [1, 2, 3, 5] {
            in_pool(threads, || {
                with_team(|| {
                    for pieces in (0..40).chain([1000; 20]) {
                        let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                        for_each(pieces, |k| {
                            counts[k].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads");
                    }
                });
            });
        }
    }

    #[test]
    fn pieces_inside_of_pieces_run_once() {
        in_pool(3, || {
            let sum = AtomicUsize::new(0);
            for_each(10, |a| {
                for_each(10, |b| {
                    sum.fetch_add(10 * a + b, Ordering::Relaxed);
                });
            });
            assert_eq!(sum.into_inner(), 4950);
        });
    }

    #[test]
    fn several_threads_share_the_work() {
        in_pool(2, || {
            let met = std::sync::Barrier::new(2);
            for_each(2, |_| {
                met.wait();
            });
        });
    }

    #[test]
    fn pieces_that_run_together_have_members_of_their_own() {
        in_pool(3, || {
            let busy: Vec<AtomicUsize> = (0..size()).map(|_| AtomicUsize::new(0)).collect();
            for_each(300, |_| {
                assert_eq!(busy[member()].fetch_add(1, Ordering::Relaxed), 0);
                std::thread::yield_now();
                busy[member()].fetch_sub(1, Ordering::Relaxed);
            });
        });
    }

    #[test]
    fn a_panic_in_a_piece_reaches_the_caller_and_nobody_hangs() {
        in_pool(2, || {
            for bad in [0, 7] {
                let result = catch_unwind(AssertUnwindSafe(|| for_each(64, |k| assert!(k != bad))));
                assert!(result.is_err());
            }
            for_each(4, |_| ());
        });
    }
}
