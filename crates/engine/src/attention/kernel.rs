//! What AVX2 computes: which cells a token looks at, their weights for some heads, and the sums of their values.

use std::arch::x86_64::*;

use llama_cpp_sys_2::ggml_tensor;

use super::HEADS_MAX;

/// Cells whose weights are computed before their values are added.
pub(super) const BLOCK: usize = 256;
/// What lengths of keys and values must be multiples of.
pub(super) const KEY_MULTIPLE: i64 = LANES as i64;
pub(super) const VALUE_MULTIPLE: i64 = 2 * LANES as i64;
/// What is fetched at once, in bytes.
const CACHE_LINE: usize = 64;
/// How many cells before its turn a key is fetched.
const AHEAD: usize = 8;
/// Numbers of a register.
const LANES: usize = 8;
/// Of ln 2, as many digits as multiply exactly, and the rest.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// A cell that a token does not look at, as a half: minus infinity.
const MASKED: i16 = 0xfc00_u16 as i16;

pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Where the rows of a tensor lie.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    start: *const u8,
    row_bytes: usize,
    head_bytes: usize,
}

impl Rows {
    pub(super) fn of(tensor: &ggml_tensor) -> Self {
        Self { start: tensor.data.cast_const().cast(), row_bytes: tensor.nb[1], head_bytes: tensor.nb[2] }
    }

    pub(super) fn of_head(self, head: usize) -> Self {
        Self { start: self.start.wrapping_add(head * self.head_bytes), ..self }
    }

    pub(super) fn row(&self, row: usize, head: usize) -> *const u8 {
        self.start.wrapping_add(row * self.row_bytes + head * self.head_bytes)
    }
}

/// How many cells a token looks at.
///
/// # Safety
/// The mask has so many cells.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn count(mask: *const u8, cells: usize) -> usize {
    let mut count = 0;
    // SAFETY: as of this function.
    unsafe { each_word(mask, cells, |_, word| count += word.count_ones() as usize) };
    count
}

/// Which cells a token looks at, of which there are `count`.
///
/// # Safety
/// The mask has so many cells.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn list(mask: *const u8, cells: usize, count: usize, list: &mut Vec<u32>) {
    list.clear();
    list.reserve_exact(count);
    // SAFETY: as of this function.
    unsafe {
        each_word(mask, cells, |at, mut word| {
            while word != 0 {
                list.push(at + word.trailing_zeros());
                word &= word - 1;
            }
        });
    }
}

/// Gives `each` where 32 cells begin, and a bit for each of them that is looked at.
///
/// # Safety
/// The mask has so many cells.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn each_word(mask: *const u8, cells: usize, mut each: impl FnMut(u32, u32)) {
    let masked = _mm256_set1_epi16(MASKED);
    let mut at = 0;
    while at + 32 <= cells {
        // SAFETY: as of this function.
        let halves = unsafe { [0, 32].map(|n| _mm256_loadu_si256(mask.add(at * 2 + n).cast())) };
        let [low, high] = halves.map(|half| _mm256_cmpeq_epi16(half, masked));
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
        each(at as u32, !(_mm256_movemask_epi8(packed) as u32));
        at += 32;
    }
    let mut word = 0;
    for n in at..cells {
        // SAFETY: as of this function.
        let cell = unsafe { mask.cast::<i16>().add(n).read_unaligned() };
        word |= u32::from(cell != MASKED) << (n - at);
    }
    if word != 0 {
        each(at as u32, word);
    }
}

/// Cells that are computed at once, for heads that share keys.
pub(super) struct Block<'a> {
    /// A row for each head, with the scale in it.
    pub(super) queries: &'a [f32],
    pub(super) keys: Rows,
    pub(super) values: Rows,
    pub(super) cells: &'a [u32],
    /// Room for [`BLOCK`] of each head.
    pub(super) weights: &'a mut [f32],
    pub(super) highest: &'a mut [f32; HEADS_MAX],
    pub(super) total: &'a mut [f32; HEADS_MAX],
    /// A row for each head.
    pub(super) sums: &'a mut [f32],
}

impl Block<'_> {
    /// Adds these cells to what went before.
    ///
    /// # Safety
    /// There are so many heads, and for all cells keys and values as long as the rows of queries and sums.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn add<const HEADS: usize>(mut self) {
        let (pairs, rest) = self.cells.as_chunks::<2>();
        // SAFETY: as of this function.
        unsafe {
            for (n, pair) in pairs.iter().enumerate() {
                self.compare::<HEADS, 2>(2 * n, *pair);
            }
            for cell in rest {
                self.compare::<HEADS, 1>(2 * pairs.len(), [*cell]);
            }
            for head in 0..HEADS {
                self.weigh::<HEADS>(head);
            }
            self.add_values::<HEADS>();
        }
    }

    /// The products of queries and keys.
    ///
    /// # Safety
    /// As of [`Self::add`].
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn compare<const HEADS: usize, const CELLS: usize>(&mut self, at: usize, cells: [u32; CELLS]) {
        let length = self.queries.len() / HEADS;
        let rows = cells.map(|cell| self.keys.row(cell as usize, 0));
        // The processor does not foresee which rows come next.
        for cell in cells {
            prefetch(self.values.row(cell as usize, 0), 2 * self.sums.len() / HEADS);
        }
        for cell in self.cells.iter().skip(at + AHEAD).take(CELLS) {
            prefetch(self.keys.row(*cell as usize, 0), 2 * length);
        }
        let mut sums = [[_mm256_setzero_ps(); HEADS]; CELLS];
        for n in (0..length).step_by(LANES) {
            for (row, sums) in rows.iter().zip(&mut sums) {
                // SAFETY: as of this function.
                let key = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(row.add(2 * n).cast())) };
                for (head, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: there is such a row for each head.
                    let query = unsafe { _mm256_loadu_ps(self.queries.as_ptr().add(head * length + n)) };
                    *sum = _mm256_fmadd_ps(key, query, *sum);
                }
            }
        }
        for (n, sums) in sums.into_iter().enumerate() {
            for (head, sum) in sums.into_iter().enumerate() {
                self.weights[head * BLOCK + at + n] = sum_of(sum);
            }
        }
    }

    /// Makes a head's products into weights, beside those that went before.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn weigh<const HEADS: usize>(&mut self, head: usize) {
        let cells = self.cells.len();
        let weights = &mut self.weights[head * BLOCK..][..cells.next_multiple_of(LANES)];
        weights[cells..].fill(f32::NEG_INFINITY);
        let (registers, _) = weights.as_chunks_mut::<LANES>();
        let mut highest = _mm256_set1_ps(self.highest[head]);
        for register in &*registers {
            // SAFETY: it is as long as a register.
            highest = _mm256_max_ps(highest, unsafe { _mm256_loadu_ps(register.as_ptr()) });
        }
        let highest = highest_of(highest);
        if highest > self.highest[head] {
            let factor = (self.highest[head] - highest).exp();
            self.highest[head] = highest;
            self.total[head] *= factor;
            let length = self.sums.len() / HEADS;
            self.sums[head * length..][..length].iter_mut().for_each(|sum| *sum *= factor);
        }
        let mut total = _mm256_setzero_ps();
        for register in registers {
            // SAFETY: as above.
            let product = unsafe { _mm256_loadu_ps(register.as_ptr()) };
            let weight = exp(_mm256_sub_ps(product, _mm256_set1_ps(highest)));
            total = _mm256_add_ps(total, weight);
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(register.as_mut_ptr(), weight) };
        }
        self.total[head] += sum_of(total);
    }

    /// Adds the values of the cells, as much of each as its weight says.
    ///
    /// # Safety
    /// As of [`Self::add`].
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn add_values<const HEADS: usize>(&mut self) {
        let length = self.sums.len() / HEADS;
        for n in (0..length).step_by(2 * LANES) {
            let at: [*mut f32; HEADS] =
                std::array::from_fn(|head| self.sums.as_mut_ptr().wrapping_add(head * length + n));
            // SAFETY: there is such a row for each head.
            let mut sums = at.map(|at| unsafe { [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(LANES))] });
            for (cell, row) in self.cells.iter().enumerate() {
                let row = self.values.row(*row as usize, 0);
                // SAFETY: as of this function.
                let values = unsafe {
                    [n, n + LANES].map(|n| _mm256_cvtph_ps(_mm_loadu_si128(row.add(2 * n).cast())))
                };
                for (head, sums) in sums.iter_mut().enumerate() {
                    let weight = _mm256_set1_ps(self.weights[head * BLOCK + cell]);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = _mm256_fmadd_ps(weight, value, *sum);
                    }
                }
            }
            for (at, [low, high]) in at.into_iter().zip(sums) {
                // SAFETY: as above.
                unsafe {
                    _mm256_storeu_ps(at, low);
                    _mm256_storeu_ps(at.add(LANES), high);
                }
            }
        }
    }
}

/// Has the processor fetch so many bytes before they are read.
#[target_feature(enable = "sse")]
#[inline]
fn prefetch(row: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(CACHE_LINE) {
        _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(at).cast());
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn sum_of(register: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn highest_of(register: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// e to the power of numbers that are at most 0, with an error below 2e-7 of it; 0 from -87 down.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn exp(power: __m256) -> __m256 {
    let is_some = _mm256_cmp_ps::<_CMP_GT_OQ>(power, _mm256_set1_ps(-87.0));
    let power = _mm256_max_ps(power, _mm256_set1_ps(-87.0));
    // e^x = 2^n * e^rest, with the rest at most half of ln 2.
    let turns = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        power,
        _mm256_set1_ps(std::f32::consts::LOG2_E),
    ));
    let rest = _mm256_fnmadd_ps(turns, _mm256_set1_ps(LN_2_HIGH), power);
    let rest = _mm256_fnmadd_ps(turns, _mm256_set1_ps(LN_2_LOW), rest);
    // Taylor's series, of which the next term is below 2e-8.
    let mut sum = _mm256_set1_ps(1.0 / 5040.0);
    for divisor in [720.0_f32, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(divisor.recip()));
    }
    let exponent =
        _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(turns), _mm256_set1_epi32(127)));
    _mm256_and_ps(_mm256_mul_ps(sum, _mm256_castsi256_ps(exponent)), is_some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    fn exp_of(power: f32) -> f32 {
        _mm256_cvtss_f32(exp(_mm256_set1_ps(power)))
    }

    #[test]
    fn powers_of_e_are_as_exact_as_they_say() {
        assert!(is_supported());
        for n in 0..870_000 {
            let power = -(n as f32) / 10_000.0;
            // SAFETY: the processor has what it needs.
            let computed = f64::from(unsafe { exp_of(power) });
            let exact = f64::from(power).exp();
            assert!((computed - exact).abs() <= 2e-7 * exact, "{power}: {computed} {exact}");
        }
        // SAFETY: as above.
        assert_eq!([-87.0, -1e30, f32::NEG_INFINITY].map(|power| unsafe { exp_of(power) }), [0.0; 3]);
    }
}
