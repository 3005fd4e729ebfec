//! Models that have a short name here, so that nobody needs to know who publishes them.

use rbee_narration::bytes;
use rbee_protocol::{FoundModel, nearest};

/// A model with a short name.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) reference: &'static str,
    about: &'static str,
    size_mb: u64,
    license: &'static str,
}

impl Known {
    /// What it is good for, and its size.
    fn about(&self) -> String {
        let Self { about, size_mb, .. } = self;
        format!("{about}, {}", bytes(size_mb * 1_000_000))
    }
}

/// Of models for embeddings, which answer nothing, there is this one.
const EMBEDDING: &str = "nomic-embed";
/// Without a graphics card, larger ones answer more slowly than people read.
const ON_PROCESSORS_MAX_MB: u64 = 3000;

/// From the smallest to the largest.
const KNOWN: [Known; 11] = [
    Known {
        name: "nomic-embed",
        reference: "hf:nomic-ai/nomic-embed-text-v1.5-GGUF:Q8_0",
        about: "for embeddings alone",
        size_mb: 150,
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-0.6b",
        reference: "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0",
        about: "thinks before it answers",
        size_mb: 600,
        license: "apache-2.0",
    },
    Known {
        name: "smollm2",
        reference: "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M",
        about: "small and quick",
        size_mb: 1100,
        license: "apache-2.0",
    },
    Known {
        name: "llama3.2-3b",
        reference: "hf:bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
        about: "for chats",
        size_mb: 2000,
        license: "llama3.2",
    },
    Known {
        name: "gemma3-4b",
        reference: "hf:ggml-org/gemma-3-4b-it-GGUF:Q4_K_M",
        about: "for chats in many languages",
        size_mb: 2500,
        license: "gemma",
    },
    Known {
        name: "qwen3-4b",
        reference: "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M",
        about: "thinks before it answers",
        size_mb: 2500,
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-8b",
        reference: "hf:Qwen/Qwen3-8B-GGUF:Q4_K_M",
        about: "thinks before it answers",
        size_mb: 5000,
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-14b",
        reference: "hf:Qwen/Qwen3-14B-GGUF:Q4_K_M",
        about: "thinks before it answers",
        size_mb: 9000,
        license: "apache-2.0",
    },
    Known {
        name: "gpt-oss-20b",
        reference: "hf:ggml-org/gpt-oss-20b-GGUF",
        about: "thinks before it answers",
        size_mb: 12_000,
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-30b-a3b",
        reference: "hf:Qwen/Qwen3-30B-A3B-GGUF:Q4_K_M",
        about: "as quick as one of 3 GiB",
        size_mb: 19_000,
        license: "apache-2.0",
    },
    Known {
        name: "gpt-oss-120b",
        reference: "hf:ggml-org/gpt-oss-120b-GGUF",
        about: "thinks before it answers",
        size_mb: 63_000,
        license: "apache-2.0",
    },
];

/// The model with this short name.
pub(crate) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// Those in whose name or description all `words` are.
pub(crate) fn search(words: &str) -> Vec<FoundModel> {
    let has_all = |known: &&Known| {
        let text = format!("{} {} {}", known.name, known.reference, known.about()).to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| text.contains(word))
    };
    let found = KNOWN.iter().filter(has_all).map(|known| FoundModel {
        reference: known.name.to_owned(),
        about: Some(known.about()),
        license: Some(known.license.to_owned()),
        downloads: None,
    });
    found.collect()
}

/// The best for answers of those that so much free memory has room for, and how large and of which licence it is; a
/// graphics card has `card_bytes` of memory.
pub(crate) fn best(free_bytes: u64, card_bytes: u64) -> Option<(&'static str, String)> {
    let is_fit = |known: &&Known| {
        let size_bytes = known.size_mb * 1_000_000;
        // The context and what lies in between come on top.
        let needed = size_bytes + size_bytes / 4 + 500_000_000;
        known.name != EMBEDDING
            && (needed <= card_bytes || (needed <= free_bytes && known.size_mb <= ON_PROCESSORS_MAX_MB))
    };
    let best = KNOWN.iter().rfind(is_fit)?;
    Some((best.name, format!("{}, {}", bytes(best.size_mb * 1_000_000), best.license)))
}

/// The short name that somebody who wrote `name` may have meant.
pub(crate) fn near(name: &str) -> Option<&'static str> {
    nearest(name, KNOWN.iter().map(|known| known.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_model_is_one_that_fits() {
        const GB: u64 = 1_000_000_000;
        let best = |free, card| best(free * GB, card * GB).map(|(name, _)| name);
        assert_eq!(best(1, 0), None);
        assert_eq!(best(2, 0), Some("smollm2"));
        assert_eq!(best(64, 0), Some("qwen3-4b"), "a processor is too slow for more");
        assert_eq!(best(64, 12), Some("qwen3-14b"));
        assert_eq!(best(64, 140), Some("gpt-oss-120b"));
    }
}
