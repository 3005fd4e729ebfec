//! Attention of the few tokens that a step computes, on processors that have AVX2.
//!
//! llama.cpp's own passes over the cells of other slots one by one, and reads keys and values anew for each of the
//! heads that share them. This one lists a token's cells first, has those heads read them together, and gives each
//! thread as many cells as the others. It takes the place of llama.cpp's in a graph right before that is computed.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use llama_cpp_sys_2::{
    GGML_OP_CUSTOM, GGML_OP_FLASH_ATTN_EXT, GGML_TYPE_F16, GGML_TYPE_F32, ggml_backend_buffer_is_host,
    ggml_backend_sched_eval_callback, ggml_tensor,
};

mod kernel;
// Where llama.cpp's own parts are libraries that are found at run time, a test cannot call them.
#[cfg(all(test, not(feature = "dynamic-backends")))]
mod tests;

use kernel::{BLOCK, Rows};

/// With more tokens llama.cpp computes in tiles, for which this is no match.
const TOKENS_MAX: usize = 63;
/// Heads that are computed together, of those that share keys.
const HEADS_MAX: usize = 4;
/// Where in an operation's parameters the scale lies once those of a custom operation lie before it.
const SCALE: usize = 8;

/// Computes attention in the place of llama.cpp. It must live as long as the context.
pub(crate) struct Attention(Arc<Shared>);

struct Shared {
    threads: Box<[UnsafeCell<Scratch>]>,
    done: AtomicUsize,
}

// SAFETY: each thread uses the scratch with its own number, and the last one to be done uses all.
unsafe impl Sync for Shared {}

/// What a thread computes with.
#[derive(Default)]
struct Scratch {
    cells: Vec<u32>,
    queries: Vec<f32>,
    weights: Vec<f32>,
    whole: Part,
    /// The first item of the thread's share and the last one, where other threads have the rest of their cells.
    parts: [Part; 2],
    parts_used: usize,
}

/// What an item makes of some of its cells.
#[derive(Default)]
struct Part {
    item: Item,
    highest: [f32; HEADS_MAX],
    total: [f32; HEADS_MAX],
    /// Of the values, a row for each head.
    sums: Vec<f32>,
}

/// Heads of a token that are computed together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Item {
    token: usize,
    head: usize,
    heads: usize,
}

impl Attention {
    /// `None` where cards compute a part of the model, or the processor lacks what it needs.
    pub(crate) fn new(threads: usize, gpu_layers: u32) -> Option<Self> {
        let threads = (0..threads).map(|_| UnsafeCell::default()).collect();
        (gpu_layers == 0 && kernel::is_supported())
            .then(|| Self(Arc::new(Shared { threads, done: AtomicUsize::new(0) })))
    }

    /// What llama.cpp calls with each operation of a graph before it computes any, and what it gives to that.
    pub(crate) fn callback(&self) -> (ggml_backend_sched_eval_callback, *mut c_void) {
        (Some(take_over), Arc::as_ptr(&self.0).cast_mut().cast())
    }
}

/// `ggml_custom_op_params`, which the binding lacks.
#[repr(C)]
struct CustomParams {
    compute: unsafe extern "C" fn(*mut ggml_tensor, c_int, c_int, *mut c_void),
    tasks: c_int,
    data: *mut c_void,
}

/// `GGML_N_TASKS_MAX`.
const ALL_THREADS: c_int = -1;

const _: () = assert!(size_of::<CustomParams>() <= SCALE * size_of::<i32>());

unsafe extern "C" fn take_over(node: *mut ggml_tensor, _ask: bool, data: *mut c_void) -> bool {
    // SAFETY: llama.cpp gives an operation of a graph, and computes none meanwhile.
    let node = unsafe { &mut *node };
    // SAFETY: as above.
    if node.op == GGML_OP_FLASH_ATTN_EXT && unsafe { is_ours(node) } {
        node.op_params[SCALE] = node.op_params[0];
        let params = CustomParams { compute, tasks: ALL_THREADS, data };
        // SAFETY: there is room for it, as the assertion shows.
        unsafe { node.op_params.as_mut_ptr().cast::<CustomParams>().write_unaligned(params) };
        node.op = GGML_OP_CUSTOM;
    }
    // Nothing is to be stopped at.
    false
}

/// Whether an operation of attention is of the kind that is computed here.
///
/// # Safety
/// Its sources live.
unsafe fn is_ours(node: &ggml_tensor) -> bool {
    let [query, key, value, mask, sinks, ..] = node.src;
    if mask.is_null() || !sinks.is_null() {
        return false;
    }
    // SAFETY: as of this function; attention has these.
    let (query, key, value, mask) = unsafe { (&*query, &*key, &*value, &*mask) };
    let [_, max_bias, softcap, ..] = node.op_params.map(|bits| f32::from_bits(bits.cast_unsigned()));
    let is_plain = |tensor: &ggml_tensor, kind, bytes| {
        // SAFETY: a buffer lives as long as the tensors in it. Those of tests are in none.
        let in_memory = tensor.buffer.is_null() || unsafe { ggml_backend_buffer_is_host(tensor.buffer) };
        in_memory && tensor.type_ == kind && tensor.nb[0] == bytes && tensor.ne[3] == 1
    };
    // Without a bias, cells are looked at or not, and the mask says nothing else.
    max_bias == 0.0
        && softcap == 0.0
        && [node, query].iter().all(|tensor| is_plain(tensor, GGML_TYPE_F32, size_of::<f32>()))
        && [key, value, mask].iter().all(|tensor| is_plain(tensor, GGML_TYPE_F16, size_of::<u16>()))
        && query.ne[1] <= TOKENS_MAX as i64
        && mask.ne[0] >= key.ne[1]
        && mask.ne[1] >= query.ne[1]
        && mask.ne[2] == 1
        && key.ne[1..3] == value.ne[1..3]
        && key.ne[0] % kernel::KEY_MULTIPLE == 0
        && value.ne[0] % kernel::VALUE_MULTIPLE == 0
}

/// Computes one thread's share.
unsafe extern "C" fn compute(node: *mut ggml_tensor, thread: c_int, threads: c_int, data: *mut c_void) {
    // SAFETY: it is what `callback` gave; all threads only read it.
    let shared = unsafe { &*data.cast::<Shared>() };
    let threads = (threads as usize).min(shared.threads.len());
    let thread = thread as usize;
    if thread >= threads {
        return;
    }
    // SAFETY: `is_ours` has seen the operation, and llama.cpp has its sources computed by now.
    let task = unsafe { Task::new(&*node) };
    // SAFETY: it is this thread's.
    let scratch = unsafe { &mut *shared.threads[thread].get() };
    // SAFETY: as above, and `Attention::new` has looked at the processor.
    unsafe { task.compute(scratch, thread, threads) };
    if shared.done.fetch_add(1, Ordering::AcqRel) + 1 == threads {
        shared.done.store(0, Ordering::Relaxed);
        // SAFETY: all threads are done.
        let scratches = shared.threads[..threads].iter().map(|scratch| unsafe { &mut *scratch.get() });
        // SAFETY: as above.
        unsafe { task.join(scratches) };
    }
}

/// An operation as the threads see it.
struct Task {
    query: Rows,
    keys: Rows,
    values: Rows,
    mask: Rows,
    answer: *mut f32,
    scale: f32,
    tokens: usize,
    /// How many the mask tells of.
    cells: usize,
    heads: usize,
    /// How many heads look at the same keys.
    sharing: usize,
    key_length: usize,
    value_length: usize,
}

impl Task {
    /// # Safety
    /// It is an operation that was taken over, and its sources live.
    unsafe fn new(node: &ggml_tensor) -> Self {
        // SAFETY: as of this function.
        let [query, key, value, mask] = [0, 1, 2, 3].map(|n| unsafe { &*node.src[n] });
        let heads = query.ne[2] as usize;
        Self {
            query: Rows::of(query),
            keys: Rows::of(key),
            values: Rows::of(value),
            mask: Rows::of(mask),
            answer: node.data.cast(),
            scale: f32::from_bits(node.op_params[SCALE].cast_unsigned()),
            tokens: query.ne[1] as usize,
            cells: key.ne[1] as usize,
            heads,
            sharing: heads / key.ne[2] as usize,
            key_length: key.ne[0] as usize,
            value_length: value.ne[0] as usize,
        }
    }

    /// What heads of a token are computed together.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (heads, sharing) = (self.heads, self.sharing);
        (0..heads).step_by(sharing).map(move |first| first..first + sharing).flat_map(|sharing| {
            sharing.clone().step_by(HEADS_MAX).map(move |head| head..sharing.end.min(head + HEADS_MAX))
        })
    }

    /// Computes a thread's share of all cells that tokens look at.
    ///
    /// # Safety
    /// The sources live, and the processor has what the kernel needs.
    unsafe fn compute(&self, scratch: &mut Scratch, thread: usize, threads: usize) {
        scratch.parts_used = 0;
        let groups = self.groups().count();
        let mut counts = [0; TOKENS_MAX];
        let counts = &mut counts[..self.tokens];
        for (token, count) in counts.iter_mut().enumerate() {
            // SAFETY: as of this function.
            *count = unsafe { kernel::count(self.mask.row(token, 0), self.cells) };
        }
        let all = counts.iter().sum::<usize>() * groups;
        let share = all * thread / threads..all * (thread + 1) / threads;
        let mut begin = 0;
        for (token, &count) in counts.iter().enumerate() {
            let end = begin + count * groups;
            if count == 0 {
                if thread == 0 {
                    // SAFETY: this thread alone has the token.
                    unsafe { self.answer(Item { token, head: 0, heads: self.heads }) }.fill(0.0);
                }
            } else if begin < share.end && share.start < end {
                // SAFETY: as of this function.
                unsafe { kernel::list(self.mask.row(token, 0), self.cells, count, &mut scratch.cells) };
                for (begin, heads) in (begin..).step_by(count).zip(self.groups()) {
                    let within = |at: usize| at.clamp(begin, begin + count) - begin;
                    let cells = within(share.start)..within(share.end);
                    if !cells.is_empty() {
                        let item = Item { token, head: heads.start, heads: heads.len() };
                        // SAFETY: as of this function.
                        unsafe { self.compute_item(scratch, item, cells) };
                    }
                }
            }
            begin = end;
        }
    }

    /// # Safety
    /// As of [`Self::compute`], and no other thread has these cells of the item.
    unsafe fn compute_item(&self, scratch: &mut Scratch, item: Item, cells: Range<usize>) {
        let Item { token, head, heads } = item;
        let is_whole = cells.len() == scratch.cells.len();
        let part = match is_whole {
            true => &mut scratch.whole,
            false => &mut scratch.parts[scratch.parts_used],
        };
        part.clear(item, heads * self.value_length);
        scratch.queries.clear();
        for head in head..head + heads {
            let row = self.query.row(token, head).cast::<f32>();
            // SAFETY: the row is so long.
            let row = unsafe { std::slice::from_raw_parts(row, self.key_length) };
            scratch.queries.extend(row.iter().map(|number| number * self.scale));
        }
        scratch.weights.resize(HEADS_MAX * BLOCK, 0.0);
        let shared = head / self.sharing;
        for cells in scratch.cells[cells].chunks(BLOCK) {
            let block = kernel::Block {
                queries: &scratch.queries,
                keys: self.keys.of_head(shared),
                values: self.values.of_head(shared),
                cells,
                weights: &mut scratch.weights,
                highest: &mut part.highest,
                total: &mut part.total,
                sums: &mut part.sums,
            };
            // SAFETY: as of this function; `is_ours` has seen the lengths.
            unsafe {
                match heads {
                    1 => block.add::<1>(),
                    2 => block.add::<2>(),
                    3 => block.add::<3>(),
                    _ => block.add::<HEADS_MAX>(),
                }
            }
        }
        match is_whole {
            // SAFETY: this thread alone has the item.
            true => unsafe { self.finish(part) },
            false => scratch.parts_used += 1,
        }
    }

    /// Joins the parts of items that several threads have computed.
    ///
    /// # Safety
    /// All threads are done.
    unsafe fn join<'a>(&self, scratches: impl Iterator<Item = &'a mut Scratch>) {
        let mut parts = scratches.flat_map(|scratch| &mut scratch.parts[..scratch.parts_used]).peekable();
        while let Some(part) = parts.next() {
            while let Some(next) = parts.next_if(|next| next.item == part.item) {
                part.add(next);
            }
            // SAFETY: as of this function.
            unsafe { self.finish(part) };
        }
    }

    /// # Safety
    /// One thread alone has the item.
    unsafe fn finish(&self, part: &Part) {
        // SAFETY: as of this function.
        let answer = unsafe { self.answer(part.item) };
        let sums = part.sums.chunks_exact(self.value_length).zip(part.total);
        for (answer, (sums, total)) in answer.chunks_exact_mut(self.value_length).zip(sums) {
            let factor = total.recip();
            answer.iter_mut().zip(sums).for_each(|(answer, sum)| *answer = sum * factor);
        }
    }

    /// # Safety
    /// One thread alone has the item.
    unsafe fn answer<'a>(&self, item: Item) -> &'a mut [f32] {
        let at = (item.token * self.heads + item.head) * self.value_length;
        // SAFETY: the answer is contiguous, and has a row for each head of each token.
        unsafe { std::slice::from_raw_parts_mut(self.answer.add(at), item.heads * self.value_length) }
    }
}

impl Part {
    fn clear(&mut self, item: Item, numbers: usize) {
        self.item = item;
        self.highest = [f32::NEG_INFINITY; HEADS_MAX];
        self.total = [0.0; HEADS_MAX];
        self.sums.clear();
        self.sums.resize(numbers, 0.0);
    }

    /// Adds what the same item makes of other cells.
    fn add(&mut self, other: &Self) {
        let length = self.sums.len() / self.item.heads;
        for head in 0..self.item.heads {
            let highest = self.highest[head].max(other.highest[head]);
            let [own, others] = [&*self, other].map(|part| (part.highest[head] - highest).exp());
            self.highest[head] = highest;
            self.total[head] = self.total[head] * own + other.total[head] * others;
            let row = head * length..(head + 1) * length;
            let sums = self.sums[row.clone()].iter_mut().zip(&other.sums[row]);
            sums.for_each(|(sum, other)| *sum = *sum * own + other * others);
        }
    }
}
