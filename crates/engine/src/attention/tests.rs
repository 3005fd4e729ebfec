use llama_cpp_sys_2::{
    GGML_STATUS_SUCCESS, ggml_build_forward_expand, ggml_context, ggml_flash_attn_ext,
    ggml_flash_attn_ext_add_sinks, ggml_fp16_to_fp32_row, ggml_fp32_to_fp16_row, ggml_free,
    ggml_graph_compute_with_ctx, ggml_init, ggml_init_params, ggml_new_graph, ggml_new_tensor_4d,
    ggml_permute, ggml_type,
};
use proptest::prelude::*;

use super::*;
use crate::engine::tests::{TestEngine, options};

/// An operation as llama.cpp makes it: rows of queries, keys and values have all heads' numbers one behind the other.
#[derive(Debug, Clone, Copy)]
struct Shape {
    tokens: usize,
    cells: usize,
    heads: usize,
    sharing: usize,
    key_length: usize,
    value_length: usize,
    threads: usize,
    /// Of 100 cells, those that a token looks at.
    seen: u64,
    seed: u64,
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
    seed: 1,
};

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (1..=20_usize, 1..=700_usize, 1..=3_usize, 1..=9_usize, 1..=12_usize, 1..=6_usize);
    (sizes, 1..=4_usize, prop_oneof![Just(0), Just(3), Just(50), Just(100)], any::<u64>()).prop_map(
        |((tokens, cells, kinds, sharing, keys, values), threads, seen, seed)| Shape {
            tokens,
            cells,
            heads: kinds * sharing,
            sharing,
            key_length: keys * kernel::KEY_MULTIPLE as usize,
            value_length: values * kernel::VALUE_MULTIPLE as usize,
            threads,
            seen,
            seed,
        },
    )
}

/// An operation of llama.cpp's with numbers in it.
struct Operation {
    context: *mut ggml_context,
    node: *mut ggml_tensor,
    shape: Shape,
    query: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    mask: Vec<f32>,
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: it was made for this operation alone.
        unsafe { ggml_free(self.context) }
    }
}

fn attention(shape: Shape) -> Attention {
    Attention::new(shape.threads, 0).expect("this processor has AVX2")
}

/// Numbers from -1 to 1.
fn numbers(seed: &mut u64, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random(seed) % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

impl Operation {
    fn new(shape: Shape, [max_bias, softcap]: [f32; 2]) -> Self {
        let Shape { tokens, cells, heads, sharing, key_length, value_length, .. } = shape;
        let kinds = heads / sharing;
        let mut seed = shape.seed;
        let query = numbers(&mut seed, tokens * heads * key_length);
        let mut keys = numbers(&mut seed, cells * kinds * key_length);
        let mut values = numbers(&mut seed, cells * kinds * value_length);
        let is_seen = |_| if random(&mut seed) % 100 < shape.seen { 0.0 } else { f32::NEG_INFINITY };
        let mut mask: Vec<f32> = (0..tokens * cells).map(is_seen).collect();
        // SAFETY: all of it is llama.cpp's own, which keeps what it makes in the context.
        unsafe {
            let context = ggml_init(ggml_init_params {
                mem_size: 16 << 20,
                mem_buffer: std::ptr::null_mut(),
                no_alloc: false,
            });
            let rows = |length, heads, count, kind, numbers: &mut [f32]| {
                let tensor = tensor(context, kind, [length, heads, count], numbers);
                ggml_permute(context, tensor, 0, 2, 1, 3)
            };
            let node = ggml_flash_attn_ext(
                context,
                rows(key_length, heads, tokens, GGML_TYPE_F32, &mut query.clone()),
                rows(key_length, kinds, cells, GGML_TYPE_F16, &mut keys),
                rows(value_length, kinds, cells, GGML_TYPE_F16, &mut values),
                tensor(context, GGML_TYPE_F16, [cells, tokens, 1], &mut mask),
                (key_length as f32).sqrt().recip(),
                max_bias,
                softcap,
            );
            Self { context, node, shape, query, keys, values, mask }
        }
    }

    /// Whether it is taken over.
    fn is_taken(&self) -> bool {
        self.take(&attention(self.shape));
        // SAFETY: it lives as long as the context.
        unsafe { (*self.node).op == GGML_OP_CUSTOM }
    }

    fn take(&self, attention: &Attention) {
        let (callback, data) = attention.callback();
        // SAFETY: nobody computes it.
        assert!(!unsafe { callback(self.node, true, data) });
    }

    /// What llama.cpp computes, as it calls what was taken over: twice, which must be the same.
    fn compute(&self) -> Vec<f32> {
        let [first, second] = [(); 2].map(|()| {
            // SAFETY: all of it is llama.cpp's own.
            unsafe {
                let graph = ggml_new_graph(self.context);
                ggml_build_forward_expand(graph, self.node);
                let status = ggml_graph_compute_with_ctx(self.context, graph, self.shape.threads as c_int);
                assert_eq!(status, GGML_STATUS_SUCCESS);
                let count = self.shape.tokens * self.shape.heads * self.shape.value_length;
                let answer = std::slice::from_raw_parts_mut((*self.node).data.cast::<f32>(), count);
                let computed = answer.to_vec();
                answer.fill(f32::NAN);
                computed
            }
        });
        assert_eq!(first, second);
        first
    }

    /// What attention is by its definition.
    fn definition(&self) -> Vec<f32> {
        let Shape { tokens, cells, heads, sharing, key_length, value_length, .. } = self.shape;
        let kinds = heads / sharing;
        let mut answer = Vec::new();
        for (token, head) in (0..tokens).flat_map(|token| (0..heads).map(move |head| (token, head))) {
            let row = |numbers: &[f32], row: usize, length: usize| {
                numbers[row * length..][..length].iter().map(|number| f64::from(*number)).collect::<Vec<_>>()
            };
            let query = row(&self.query, token * heads + head, key_length);
            let seen = (0..cells).filter(|cell| self.mask[token * cells + cell] == 0.0);
            let seen: Vec<(f64, Vec<f64>)> = seen
                .map(|cell| {
                    let key = row(&self.keys, cell * kinds + head / sharing, key_length);
                    let product: f64 = query.iter().zip(key).map(|(query, key)| query * key).sum();
                    let value = row(&self.values, cell * kinds + head / sharing, value_length);
                    ((product / (key_length as f64).sqrt()).exp(), value)
                })
                .collect();
            let total: f64 = seen.iter().map(|(weight, _)| weight).sum();
            for n in 0..value_length {
                let sum: f64 = seen.iter().map(|(weight, value)| weight * value[n]).sum();
                answer.push(if seen.is_empty() { 0.0 } else { (sum / total) as f32 });
            }
        }
        answer
    }
}

/// Makes a tensor of these numbers, which become what it can hold of them.
unsafe fn tensor(
    context: *mut ggml_context,
    kind: ggml_type,
    [a, b, c]: [usize; 3],
    numbers: &mut [f32],
) -> *mut ggml_tensor {
    let count = numbers.len() as i64;
    // SAFETY: as of this function, the context is llama.cpp's, and the tensor has room for as many numbers.
    unsafe {
        let tensor = ggml_new_tensor_4d(context, kind, a as i64, b as i64, c as i64, 1);
        let data = (*tensor).data;
        if kind == GGML_TYPE_F16 {
            ggml_fp32_to_fp16_row(numbers.as_ptr(), data.cast(), count);
            ggml_fp16_to_fp32_row(data.cast(), numbers.as_mut_ptr(), count);
        } else {
            data.cast::<f32>().copy_from_nonoverlapping(numbers.as_ptr(), numbers.len());
        }
        tensor
    }
}

proptest! {
    #[test]
    fn it_is_what_the_definition_says(shape in shapes()) {
        let operation = Operation::new(shape, [0.0; 2]);
        let attention = attention(shape);
        operation.take(&attention);
        let computed = operation.compute();
        for (computed, defined) in computed.iter().zip(operation.definition()) {
            prop_assert!((computed - defined).abs() < 2e-6, "{computed} {defined}");
        }
    }
}

/// Weights that are e^90 apart, and the highest at the end, where all sums before must shrink.
#[test]
fn great_products_come_to_no_harm() {
    for factor in [1e-6, 30.0, 300.0] {
        let shape = Shape { tokens: 1, cells: 600, seen: 100, ..SMALL };
        let mut operation = Operation::new(shape, [0.0; 2]);
        operation.query.iter_mut().for_each(|number| *number *= factor);
        // SAFETY: nobody computes it, and it has as many numbers.
        unsafe {
            let query = (*(*operation.node).src[0]).data.cast::<f32>();
            query.copy_from_nonoverlapping(operation.query.as_ptr(), operation.query.len());
        }
        let attention = attention(shape);
        operation.take(&attention);
        for (computed, defined) in operation.compute().iter().zip(operation.definition()) {
            assert!((computed - defined).abs() < 1e-5 * factor.max(1.0), "{factor}: {computed} {defined}");
        }
    }
}

#[test]
fn what_is_not_of_its_kind_stays_with_llama() {
    let taken = |shape, settings| Operation::new(shape, settings).is_taken();
    assert!(taken(SMALL, [0.0; 2]));
    assert!(taken(Shape { tokens: TOKENS_MAX, ..SMALL }, [0.0; 2]));
    assert!(!taken(Shape { tokens: TOKENS_MAX + 1, ..SMALL }, [0.0; 2]));
    assert!(!taken(Shape { key_length: 36, ..SMALL }, [0.0; 2]));
    assert!(!taken(Shape { value_length: 40, ..SMALL }, [0.0; 2]));
    assert!(!taken(SMALL, [8.0, 0.0]));
    assert!(!taken(SMALL, [0.0, 50.0]));
    let operation = Operation::new(SMALL, [0.0; 2]);
    // SAFETY: all of it is llama.cpp's own.
    unsafe {
        let sinks = ggml_new_tensor_4d(operation.context, GGML_TYPE_F32, SMALL.heads as i64, 1, 1, 1);
        ggml_flash_attn_ext_add_sinks(operation.node, sinks);
    }
    assert!(!operation.is_taken());
}

#[test]
fn a_model_computes_with_it() {
    let mut engine = TestEngine::load_with(options());
    engine.check_hello();
    let attention = engine.engine._attention.as_mut().expect("this processor has AVX2");
    assert!(!attention.0.threads[0].get_mut().cells.is_empty());
}

#[test]
fn cards_compute_on_their_own() {
    assert!(Attention::new(2, 1).is_none());
}
