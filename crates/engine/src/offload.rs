//! How much of a model lies on graphics cards: as many of its layers as fit there.

use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};

/// What drivers take of a card besides, and other programs may come to.
const RESERVED_BYTES: u64 = 1 << 30;

/// The layers that go to graphics cards, and what they take there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offload {
    /// The last layers, with the output as one more.
    pub(crate) layers: u32,
    /// Of the weights.
    pub(crate) weights_bytes: u64,
    /// Of what the context computes and keeps.
    pub(crate) context_bytes: u64,
}

impl Offload {
    /// As many of a model's `layers` as `free_bytes` hold beside the buffers, which lie there once any layer does.
    ///
    /// Layers are taken for equal, which those of most models are.
    pub(crate) fn choose(
        layers: u32,
        weights_bytes: u64,
        context_bytes: u64,
        buffers_bytes: u64,
        free_bytes: u64,
    ) -> Self {
        let layers = u64::from(layers) + 1;
        let each = (weights_bytes + context_bytes) / layers;
        let room = free_bytes.saturating_sub(RESERVED_BYTES + buffers_bytes);
        let chosen = room.checked_div(each).unwrap_or(0).min(layers);
        Self {
            layers: u32::try_from(chosen).unwrap_or(u32::MAX),
            weights_bytes: weights_bytes / layers * chosen,
            context_bytes: context_bytes / layers * chosen,
        }
    }
}

/// Memory that graphics cards have for a model; 0 where there are none, or none that this build can use.
pub(crate) fn free_bytes() -> u64 {
    let devices = list_llama_ggml_backend_devices();
    let cards = devices.iter().filter(|device| device.device_type == LlamaBackendDeviceType::Gpu);
    cards.map(|card| card.memory_free as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn layers(weights_gib: u64, context_gib: u64, buffers_gib: u64, free_gib: u64) -> u32 {
        let sizes = (weights_gib * GIB, context_gib * GIB, buffers_gib * GIB);
        let offload = Offload::choose(31, sizes.0, sizes.1, sizes.2, free_gib * GIB);
        assert!(offload.weights_bytes <= sizes.0 && offload.context_bytes <= sizes.1);
        assert!(offload.weights_bytes + offload.context_bytes <= free_gib * GIB);
        offload.layers
    }

    #[test]
    fn what_fits_goes_to_the_cards() {
        assert_eq!(layers(16, 4, 1, 24), 32);
        assert_eq!(layers(28, 4, 1, 24), 22);
        assert_eq!(layers(28, 4, 1, 3), 1);
        assert_eq!(layers(28, 4, 1, 2), 0);
        assert_eq!(layers(28, 4, 1, 0), 0);
    }
}
