//! How many slots a model gets, and how much memory for what they compute.

use crate::engine::LoadOptions;

/// The context length without a setting, if the model was trained with so much.
const DEFAULT_CONTEXT_LENGTH: u32 = 8192;

/// Small machines decode eight streams together at nearly twice the speed of one; more streams gain
/// little there and share what memory there is.
pub(crate) const DEFAULT_SLOTS: u32 = 8;

/// llama.cpp rounds up to a multiple of this.
const CELLS_STEP: u32 = 256;

/// More saved conversations than this are rarely asked for again before they are replaced.
const SAVED_BYTES_MAX: u64 = 1 << 30;

/// What the model says about its needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) train_context_length: u32,
    /// What it takes besides, whatever the context.
    pub(crate) fixed_bytes: u64,
    /// What the computed values of one token take; nothing of recurrent models, whose state does not grow.
    pub(crate) bytes_per_token: u64,
}

/// How the memory is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) slots: u32,
    /// Tokens that one request may have.
    pub(crate) context_length: u32,
    /// Tokens of all slots together.
    pub(crate) cells: u32,
    /// What saved conversations may take.
    pub(crate) saved_bytes: usize,
}

impl Room {
    /// Divides half of what `free_bytes` leaves beside the model itself: the rest is for other programs.
    ///
    /// A context length that was asked for is given, whether or not the memory seems to suffice. All
    /// slots share the cells, and few conversations are long, so there are fewer cells than slots
    /// times the context length: what does not fit for the moment waits.
    pub(crate) fn choose(options: &LoadOptions, needs: Needs, free_bytes: Option<u64>) -> Self {
        let left_bytes = free_bytes.map(|bytes| bytes.saturating_sub(needs.fixed_bytes));
        let affordable = left_bytes.map_or(u64::MAX, |bytes| bytes / 2 / needs.bytes_per_token.max(1));
        let affordable = u32::try_from(affordable).unwrap_or(u32::MAX) / CELLS_STEP * CELLS_STEP;

        let longest = needs.train_context_length.max(1);
        let context_length = match options.context_length {
            Some(length) => length.min(longest),
            None => DEFAULT_CONTEXT_LENGTH.min(longest).min(affordable.max(CELLS_STEP)),
        };
        let slots = options.slots.unwrap_or(match affordable / context_length {
            0 => 2,
            1 => DEFAULT_SLOTS / 2,
            _ => DEFAULT_SLOTS,
        });
        let enough = context_length.saturating_mul(2).max(2 * DEFAULT_CONTEXT_LENGTH);
        let cells = context_length.saturating_mul(slots).min(enough).min(affordable).max(context_length);
        Self {
            slots,
            context_length,
            cells: cells.div_ceil(CELLS_STEP).saturating_mul(CELLS_STEP),
            saved_bytes: options.saved_bytes.unwrap_or_else(|| {
                left_bytes.map_or(SAVED_BYTES_MAX, |bytes| (bytes / 8).min(SAVED_BYTES_MAX))
            }) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn check(
        asked: (Option<u32>, Option<u32>),
        needs: (u32, u64),
        free_bytes: u64,
        (slots, context_length, cells): (u32, u32, u32),
    ) {
        let options = LoadOptions {
            slots: asked.0,
            context_length: asked.1,
            threads: 1,
            saved_bytes: None,
            adapter: None,
            draft: None,
            taken_bytes: 0,
        };
        let (train_context_length, bytes_per_token) = needs;
        let needs = Needs { train_context_length, fixed_bytes: GIB, bytes_per_token };
        let free_bytes = free_bytes + GIB;
        let room = Room::choose(&options, needs, Some(free_bytes));
        assert_eq!((room.slots, room.context_length, room.cells), (slots, context_length, cells));
        assert!(room.saved_bytes as u64 <= (free_bytes - GIB) / 8);
    }

    #[test]
    fn a_small_model_gets_eight_slots_that_share_two_contexts() {
        check((None, None), (8192, 23_040), 16 * GIB, (8, 8192, 16_384));
        check((None, None), (131_072, 23_040), 16 * GIB, (8, 8192, 16_384));
        check((None, None), (2048, 23_040), 16 * GIB, (8, 2048, 16_384));
    }

    #[test]
    fn what_is_asked_for_is_given_up_to_the_training_context() {
        check((Some(2), Some(4096)), (8192, 23_040), 16 * GIB, (2, 4096, 8192));
        check((Some(16), Some(32_768)), (32_768, 23_040), 16 * GIB, (16, 32_768, 65_536));
        check((None, Some(100_000)), (8192, 23_040), 16 * GIB, (8, 8192, 16_384));
        check((None, Some(50)), (8192, 23_040), 16 * GIB, (8, 50, 512));
    }

    #[test]
    fn little_memory_gives_fewer_slots_and_then_a_shorter_context() {
        check((None, None), (8192, 512 << 10), 10 * GIB, (4, 8192, 10_240));
        check((None, None), (8192, 512 << 10), 4 * GIB, (4, 4096, 4096));
        check((None, Some(8192)), (8192, 512 << 10), 4 * GIB, (2, 8192, 8192));
        check((None, None), (8192, 512 << 10), 0, (2, 256, 256));
    }
}
