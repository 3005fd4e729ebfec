use llama_cpp_sys_2::{
    GGML_STATUS_ABORTED, GGML_STATUS_SUCCESS, GGML_TYPE_Q8_0, ggml_build_forward_expand, ggml_cgraph,
    ggml_context, ggml_flash_attn_ext, ggml_flash_attn_ext_add_sinks, ggml_fp16_to_fp32_row,
    ggml_fp32_to_fp16_row, ggml_free, ggml_graph_compute, ggml_graph_plan, ggml_init, ggml_init_params,
    ggml_new_graph, ggml_new_tensor_4d, ggml_permute, ggml_status, ggml_type,
};
use proptest::prelude::*;

use super::*;
use crate::engine::tests::{TestEngine, options};

#[derive(Debug, Clone, Copy)]
struct Shape {
    tokens: usize,
    cells: usize,
    heads: usize,
    sharing: usize,
    key_length: usize,
    value_length: usize,
    threads: usize,
    /// Of 100 cells, how many a token looks at.
    seen: u64,
}

const SMALL: Shape = Shape {
    tokens: 3,
    cells: 64,
    heads: 9,
    sharing: 3,
    key_length: 64,
    value_length: 64,
    threads: 2,
    seen: 50,
};

fn shapes() -> impl Strategy<Value = Shape> {
    let tokens = prop_oneof![4 => 1..=20_usize, 1 => Just(TOKENS_MAX)];
    let sizes = (tokens, 1..=700_usize, 1..=3_usize, 1..=9_usize, 1..=12_usize, 1..=6_usize);
    let seen = prop_oneof![Just(0), Just(3), Just(50), Just(100)];
    (sizes, 1..=4_usize, seen).prop_map(|((tokens, cells, kinds, sharing, keys, values), threads, seen)| {
        Shape {
            tokens,
            cells,
            heads: kinds * sharing,
            sharing,
            key_length: keys * kernel::KEY_MULTIPLE as usize,
            value_length: values * kernel::VALUE_MULTIPLE as usize,
            threads,
            seen,
        }
    })
}

/// What attention is computed of: for each token or cell all heads' numbers, one behind the other.
struct Numbers {
    query: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    mask: Vec<f32>,
}

impl Numbers {
    fn random(shape: Shape, mut seed: u64) -> Self {
        let Shape { tokens, cells, heads, sharing, key_length, value_length, seen, .. } = shape;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut some = |count| (0..count).map(|_| (next() % 2001) as f32 / 1000.0 - 1.0).collect();
        Self {
            query: some(tokens * heads * key_length),
            keys: some(cells * heads / sharing * key_length),
            values: some(cells * heads / sharing * value_length),
            mask: (0..tokens * cells)
                .map(|_| if next() % 100 < seen { 0.0 } else { f32::NEG_INFINITY })
                .collect(),
        }
    }
}

/// The same operation of llama.cpp's several times.
struct Operations {
    context: *mut ggml_context,
    nodes: [*mut ggml_tensor; 3],
    shape: Shape,
    numbers: Numbers,
}

impl Drop for Operations {
    fn drop(&mut self) {
        // SAFETY: it was made for these alone.
        unsafe { ggml_free(self.context) }
    }
}

impl Operations {
    fn new(shape: Shape, mut numbers: Numbers, [max_bias, softcap]: [f32; 2]) -> Self {
        let Shape { tokens, cells, heads, sharing, key_length, value_length, .. } = shape;
        let kinds = heads / sharing;
        // SAFETY: all of it is llama.cpp's own, which keeps what it makes in the context.
        unsafe {
            let settings =
                ggml_init_params { mem_size: 32 << 20, mem_buffer: std::ptr::null_mut(), no_alloc: false };
            let context = ggml_init(settings);
            let query = rows(context, GGML_TYPE_F32, [key_length, heads, tokens], &mut numbers.query);
            let keys = rows(context, GGML_TYPE_F16, [key_length, kinds, cells], &mut numbers.keys);
            let values = rows(context, GGML_TYPE_F16, [value_length, kinds, cells], &mut numbers.values);
            let mask = ggml_new_tensor_4d(context, GGML_TYPE_F16, cells as i64, tokens as i64, 1, 1);
            ggml_fp32_to_fp16_row(numbers.mask.as_ptr(), (*mask).data.cast(), numbers.mask.len() as i64);
            let scale = (key_length as f32).sqrt().recip();
            let nodes = [(); 3]
                .map(|()| ggml_flash_attn_ext(context, query, keys, values, mask, scale, max_bias, softcap));
            Self { context, nodes, shape, numbers }
        }
    }

    fn small() -> Self {
        Self::new(SMALL, Numbers::random(SMALL, 1), [0.0; 2])
    }

    /// Whether they are taken over.
    fn take(&self, attention: &Attention) -> bool {
        let (callback, data) = attention.callback();
        let callback = callback.expect("there is one");
        let taken = self.nodes.map(|node| {
            // SAFETY: nobody computes it.
            assert!(!unsafe { callback(node, true, data) });
            // SAFETY: it lives as long as the context.
            unsafe { (*node).op == GGML_OP_CUSTOM }
        });
        assert!(taken.iter().all(|is_taken| *is_taken == taken[0]));
        taken[0]
    }

    /// Has llama.cpp compute them, until it has asked so many times whether to go on.
    fn compute(&self, most: usize) -> ggml_status {
        let mut left = most;
        // SAFETY: all of it is llama.cpp's own, but for the room for its work, which is as large as it wants.
        unsafe {
            let graph: *mut ggml_cgraph = ggml_new_graph(self.context);
            self.nodes.iter().for_each(|node| ggml_build_forward_expand(graph, *node));
            let mut plan = ggml_graph_plan(graph, self.shape.threads as c_int, std::ptr::null_mut());
            let mut work = vec![0_u8; plan.work_size];
            plan.work_data = work.as_mut_ptr();
            plan.abort_callback = Some(is_over);
            plan.abort_callback_data = (&raw mut left).cast();
            ggml_graph_compute(graph, &raw mut plan)
        }
    }

    fn answers(&mut self) -> [&mut [f32]; 3] {
        let count = self.shape.tokens * self.shape.heads * self.shape.value_length;
        // SAFETY: each has its own, of this length, and nobody computes.
        self.nodes.map(|node| unsafe { std::slice::from_raw_parts_mut((*node).data.cast(), count) })
    }

    /// Computes them, and sees that all are what the definition says.
    fn check(&mut self, tolerance: f32) {
        self.answers().iter_mut().for_each(|answer| answer.fill(f32::NAN));
        assert_eq!(self.compute(usize::MAX), GGML_STATUS_SUCCESS);
        let definition = self.definition();
        let [first, second, third] = self.answers();
        assert!(first == second && second == third);
        for (computed, defined) in first.iter().zip(definition) {
            assert!((computed - defined).abs() <= tolerance, "{computed} {defined}");
        }
    }

    fn definition(&self) -> Vec<f32> {
        let Shape { tokens, cells, heads, sharing, key_length, value_length, .. } = self.shape;
        let row = |numbers: &[f32], row: usize, length: usize| {
            numbers[row * length..][..length].iter().map(|number| f64::from(*number)).collect::<Vec<_>>()
        };
        let mut answer = Vec::new();
        for (token, head) in (0..tokens).flat_map(|token| (0..heads).map(move |head| (token, head))) {
            let query = row(&self.numbers.query, token * heads + head, key_length);
            let seen = (0..cells).filter(|cell| self.numbers.mask[token * cells + cell] == 0.0);
            let mut seen: Vec<(f64, Vec<f64>)> = seen
                .map(|cell| {
                    let row_of_cell = cell * (heads / sharing) + head / sharing;
                    let key = row(&self.numbers.keys, row_of_cell, key_length);
                    let product: f64 = query.iter().zip(key).map(|(query, key)| query * key).sum();
                    (
                        product / (key_length as f64).sqrt(),
                        row(&self.numbers.values, row_of_cell, value_length),
                    )
                })
                .collect();
            let highest = seen.iter().map(|(product, _)| *product).fold(f64::MIN, f64::max);
            seen.iter_mut().for_each(|(product, _)| *product = (*product - highest).exp());
            let total: f64 = seen.iter().map(|(weight, _)| weight).sum();
            for n in 0..value_length {
                let sum: f64 = seen.iter().map(|(weight, value)| weight * value[n]).sum();
                answer.push(if seen.is_empty() { 0.0 } else { (sum / total) as f32 });
            }
        }
        answer
    }
}

unsafe extern "C" fn is_over(left: *mut c_void) -> bool {
    // SAFETY: it is what `compute` gave, and one thread asks.
    let left = unsafe { &mut *left.cast::<usize>() };
    *left = left.saturating_sub(1);
    *left == 0
}

/// Rows of a memory that has more of them, and longer ones, as llama.cpp looks at them: heads outermost. The numbers
/// become what is kept of them.
///
/// # Safety
/// The context is llama.cpp's.
unsafe fn rows(
    context: *mut ggml_context,
    kind: ggml_type,
    [length, heads, count]: [usize; 3],
    numbers: &mut [f32],
) -> *mut ggml_tensor {
    // SAFETY: the tensor has more room than there are numbers.
    unsafe {
        let memory = ggml_new_tensor_4d(context, kind, length as i64 + 8, heads as i64, count as i64 + 3, 1);
        for (row, numbers) in numbers.chunks_mut(length).enumerate() {
            let data = (*memory).data.add(row * (*memory).nb[1]);
            if kind == GGML_TYPE_F16 {
                ggml_fp32_to_fp16_row(numbers.as_ptr(), data.cast(), length as i64);
                ggml_fp16_to_fp32_row(data.cast(), numbers.as_mut_ptr(), length as i64);
            } else {
                data.cast::<f32>().copy_from_nonoverlapping(numbers.as_ptr(), length);
            }
        }
        let rows = ggml_permute(context, memory, 0, 2, 1, 3);
        ((*rows).ne[0], (*rows).ne[1]) = (length as i64, count as i64);
        rows
    }
}

fn attention(threads: usize) -> Attention {
    Attention::new(threads, 0).expect("this processor has AVX2")
}

proptest! {
    #[test]
    fn it_is_what_the_definition_says(shape in shapes(), seed in any::<u64>()) {
        let mut operations = Operations::new(shape, Numbers::random(shape, seed), [0.0; 2]);
        let attention = attention(shape.threads);
        assert!(operations.take(&attention));
        operations.check(2e-6);
    }

    #[test]
    fn what_was_given_up_is_computed_later(shape in shapes(), most in 1..=3_usize) {
        let mut operations = Operations::new(shape, Numbers::random(shape, 1), [0.0; 2]);
        let attention = attention(shape.threads);
        assert!(operations.take(&attention));
        assert_eq!(operations.compute(most), GGML_STATUS_ABORTED);
        operations.check(2e-6);
    }
}

/// Each cell's weight outdoes all before it, so that those shrink to nothing.
#[test]
fn weights_that_rise_to_the_last_cell_come_to_no_harm() {
    for most in [1e-6, 30.0, 3000.0] {
        let shape = Shape { tokens: 1, cells: 600, seen: 100, ..SMALL };
        let mut numbers = Numbers::random(shape, 1);
        numbers.query.fill(most);
        let of_cell = numbers.keys.len() / shape.cells;
        for (cell, keys) in numbers.keys.chunks_mut(of_cell).enumerate() {
            keys.fill(cell as f32 / shape.cells as f32);
        }
        let mut operations = Operations::new(shape, numbers, [0.0; 2]);
        let attention = attention(shape.threads);
        assert!(operations.take(&attention));
        operations.check(2e-4);
    }
}

#[test]
fn what_is_not_of_its_kind_stays_with_llama() {
    let attention = attention(2);
    let is_taken = |shape, settings| {
        let operations = Operations::new(shape, Numbers::random(shape, 1), settings);
        operations.take(&attention)
    };
    assert!(is_taken(SMALL, [0.0; 2]));
    assert!(!is_taken(Shape { tokens: TOKENS_MAX + 1, ..SMALL }, [0.0; 2]));
    assert!(!is_taken(Shape { key_length: 36, ..SMALL }, [0.0; 2]));
    assert!(!is_taken(Shape { value_length: 40, ..SMALL }, [0.0; 2]));
    assert!(!is_taken(SMALL, [8.0, 0.0]));
    assert!(!is_taken(SMALL, [0.0, 50.0]));

    let operations = Operations::small();
    // SAFETY: all of it is llama.cpp's own.
    unsafe {
        let sinks = ggml_new_tensor_4d(operations.context, GGML_TYPE_F32, SMALL.heads as i64, 1, 1, 1);
        operations.nodes.iter().for_each(|node| ggml_flash_attn_ext_add_sinks(*node, sinks));
    }
    assert!(!operations.take(&attention));

    let spoils: [fn(&mut [&mut ggml_tensor; 4]); 10] = [
        |[query, ..]| query.type_ = GGML_TYPE_F16,
        |[_, keys, ..]| keys.type_ = GGML_TYPE_Q8_0,
        |[_, _, values, _]| values.type_ = GGML_TYPE_F32,
        |[_, _, values, _]| values.nb[0] = values.nb[1],
        |sources| sources.iter_mut().for_each(|source| source.ne[3] = 2),
        |[.., mask]| mask.ne[2] = 9,
        |[.., mask]| mask.ne[0] -= 1,
        |[.., mask]| mask.ne[1] -= 1,
        |[_, _, values, _]| values.ne[1] -= 1,
        |[_, _, values, _]| values.ne[2] = 1,
    ];
    for (n, spoil) in spoils.iter().enumerate() {
        let operations = Operations::small();
        // SAFETY: all nodes have the same sources, which are different tensors.
        spoil(&mut [0, 1, 2, 3].map(|n| unsafe { &mut *(*operations.nodes[0]).src[n] }));
        assert!(!operations.take(&attention), "{n}");
    }
    let operations = Operations::small();
    // SAFETY: they live as long as the context.
    operations.nodes.iter().for_each(|node| unsafe { (**node).src[3] = std::ptr::null_mut() });
    assert!(!operations.take(&attention));
}

#[test]
fn a_model_computes_with_it() {
    let mut engine = TestEngine::load_with(options());
    engine.check_hello();
    let attention = engine.engine._attention.as_ref().expect("this processor has AVX2");
    // SAFETY: nobody computes.
    assert!(!unsafe { &*attention.0.threads[0].get() }.cells.is_empty());
}

#[test]
fn cards_compute_on_their_own() {
    assert!(Attention::new(2, 1).is_none());
}
