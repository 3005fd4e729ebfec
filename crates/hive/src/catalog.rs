//! Models that have a short name here, so that nobody needs to know who publishes them.

use rbee_protocol::FoundModel;

use crate::models::nearest;

/// A model with a short name.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) reference: &'static str,
    about: &'static str,
    license: &'static str,
}

/// From the smallest to the largest.
const KNOWN: [Known; 11] = [
    Known {
        name: "nomic-embed",
        reference: "hf:nomic-ai/nomic-embed-text-v1.5-GGUF:Q8_0",
        about: "for embeddings alone, 0.15 GB",
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-0.6b",
        reference: "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0",
        about: "thinks before it answers, 0.6 GB",
        license: "apache-2.0",
    },
    Known {
        name: "smollm2",
        reference: "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M",
        about: "small and quick, 1.1 GB",
        license: "apache-2.0",
    },
    Known {
        name: "llama3.2-3b",
        reference: "hf:bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
        about: "for chats, 2 GB",
        license: "llama3.2",
    },
    Known {
        name: "gemma3-4b",
        reference: "hf:ggml-org/gemma-3-4b-it-GGUF:Q4_K_M",
        about: "for chats in many languages, 2.5 GB",
        license: "gemma",
    },
    Known {
        name: "qwen3-4b",
        reference: "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M",
        about: "thinks before it answers, 2.5 GB",
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-8b",
        reference: "hf:Qwen/Qwen3-8B-GGUF:Q4_K_M",
        about: "thinks before it answers, 5 GB",
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-14b",
        reference: "hf:Qwen/Qwen3-14B-GGUF:Q4_K_M",
        about: "thinks before it answers, 9 GB",
        license: "apache-2.0",
    },
    Known {
        name: "gpt-oss-20b",
        reference: "hf:ggml-org/gpt-oss-20b-GGUF",
        about: "thinks before it answers, 12 GB",
        license: "apache-2.0",
    },
    Known {
        name: "qwen3-30b-a3b",
        reference: "hf:Qwen/Qwen3-30B-A3B-GGUF:Q4_K_M",
        about: "as quick as one of 3 GB, 19 GB",
        license: "apache-2.0",
    },
    Known {
        name: "gpt-oss-120b",
        reference: "hf:ggml-org/gpt-oss-120b-GGUF",
        about: "thinks before it answers, 63 GB",
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
        let text = format!("{} {} {}", known.name, known.reference, known.about).to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| text.contains(word))
    };
    let found = KNOWN.iter().filter(has_all).map(|known| FoundModel {
        reference: known.name.to_owned(),
        about: Some(known.about.to_owned()),
        license: Some(known.license.to_owned()),
        downloads: None,
    });
    found.collect()
}

/// The short name that somebody who wrote `name` may have meant.
pub(crate) fn near(name: &str) -> Option<&'static str> {
    nearest(name, KNOWN.iter().map(|known| known.name))
}
