//! How much a model keeps of each token that it has seen.
//!
//! llama.cpp decides that by the family, with what the header says and what only its code does. What stands here of
//! families is that code's.

use crate::metadata::Metadata;

/// Families that see a text as a whole and keep nothing of it.
const WITHOUT: [&str; 15] = [
    "bert",
    "clef",
    "dream",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "llada",
    "llada-moe",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "rnd1",
    "wavtokenizer-dec",
];
/// Families all of whose layers keep a state that does not grow.
const RECURRENT: [&str; 6] = ["arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"];
/// Families that keep other things besides, or go through layers more than once.
const OF_THEIR_OWN: [&str; 20] = [
    "bailingmoe3",
    "deepseek32",
    "deepseek4",
    "dflash",
    "dots3note",
    "eagle3",
    "gemma4-assistant",
    "glm-dsa",
    "glm5-next",
    "graniteswitch",
    "hrm_text",
    "hy_v4",
    "kimi-k3",
    "minimax-m3",
    "nanbeige",
    "pockettts",
    "qwen3tts",
    "qwen4exp",
    "t5",
    "t5encoder",
];
/// Families of which one in so many layers sees everything and the others have a window, unless the header says
/// otherwise, and whether that layer is the first of those.
const TAKING_TURNS: [(&str, u32, bool); 16] = [
    ("afmoe", 4, false),
    ("cohere2", 4, false),
    ("cohere2moe", 4, true),
    ("exaone-moe", 4, false),
    ("exaone4", 4, false),
    ("gemma2", 2, false),
    ("gemma3", 6, false),
    ("gemma3n", 5, false),
    ("gpt-oss", 2, false),
    ("laguna", 4, true),
    ("llama4", 4, false),
    ("mellum", 4, false),
    ("muse-glimmer", 4, false),
    ("olmo2", 4, false),
    ("plamo3", 8, false),
    ("smallthinker", 4, true),
];
/// Families whose header says of each layer whether it has a window.
const SAYING_SO: [&str; 6] = ["gemma4", "granite_swa", "maple", "mimo2", "spark2_5", "step35"];
/// Families of which one in so many layers keeps keys and values and the others a state, unless the header says
/// otherwise.
const PARTLY_RECURRENT: [(&str, u32); 4] =
    [("minimax-01", 8), ("qwen3next", 4), ("qwen35", 4), ("qwen35moe", 4)];

/// llama.cpp makes room for a multiple of so many tokens.
const CELLS_STEP: u64 = 256;
/// What it computes at once, for which a window has room too.
const BATCH_TOKENS: u64 = 512;
/// A number of a key or a value, in 16 bits.
const NUMBER_BYTES: u64 = 2;

/// What a token takes, by the layers that keep it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Bytes, in the layers that see everything.
    whole_bytes: u64,
    /// Bytes, in the layers with a window.
    windowed_bytes: u64,
    /// Tokens that a window has.
    window: u32,
    /// Whether anything is kept at all, be it a state.
    is_there: bool,
}

impl Cache {
    /// `None` where the header does not tell.
    pub(crate) fn new(architecture: &str, metadata: &Metadata) -> Option<Self> {
        if WITHOUT.contains(&architecture) {
            return Some(Self::default());
        }
        if RECURRENT.contains(&architecture) {
            return Some(Self { is_there: true, ..Self::default() });
        }
        if OF_THEIR_OWN.contains(&architecture) {
            return None;
        }
        let header =
            Header { architecture, metadata, layers: metadata.u32(&format!("{architecture}.block_count"))? };
        header.cache()
    }

    pub(crate) fn is_there(self) -> bool {
        self.is_there
    }

    /// What so many tokens of one sequence take; `None` where no machine could count it.
    pub(crate) fn bytes(self, tokens: u32) -> Option<u64> {
        let cells = rounded(tokens.into());
        let in_window = cells.min(rounded(u64::from(self.window) + BATCH_TOKENS));
        let whole = self.whole_bytes.checked_mul(cells)?;
        whole.checked_add(self.windowed_bytes.checked_mul(in_window)?)
    }

    /// The same, with windows that have all tokens.
    pub(crate) fn whole_bytes(self, tokens: u32) -> Option<u64> {
        self.whole_bytes.checked_add(self.windowed_bytes)?.checked_mul(rounded(tokens.into()))
    }
}

fn rounded(tokens: u64) -> u64 {
    tokens.next_multiple_of(CELLS_STEP)
}

/// A header, and what it is asked about its layers.
struct Header<'a> {
    architecture: &'a str,
    metadata: &'a Metadata,
    layers: u32,
}

impl Header<'_> {
    fn cache(&self) -> Option<Cache> {
        let heads = self.per_layer("attention.head_count").unwrap_or(vec![0; self.layers as usize]);
        let kv_heads = match self.has("attention.head_count_kv") {
            true => self.per_layer("attention.head_count_kv")?,
            false => heads.clone(),
        };
        let equal_part = self.u32("embedding_length")?.checked_div(*heads.first()?);
        let length = |name: &str| equal_part.map_or(0, |part| self.u32(name).unwrap_or(part));
        let (key, value) = (length("attention.key_length"), length("attention.value_length"));
        let windowed_key = self.u32("attention.key_length_swa").unwrap_or(key);
        let windowed_value = self.u32("attention.value_length_swa").unwrap_or(value);
        // Compressed keys, of which the values are computed.
        let is_compressed = ["attention.key_length_mla", "attention.value_length_mla"]
            .iter()
            .all(|name| self.u32(name).is_some_and(|length| length > 0));

        let window = self.window();
        let windowed = if window > 0 { self.windowed_layers()? } else { Vec::new() };
        let recurrent = self.recurrent_layers()?;
        let mut cache = Cache { window, is_there: true, ..Cache::default() };
        for (layer, &kv_heads) in (0..self.keeping_layers()).zip(&kv_heads) {
            let is = |layers: &[bool]| layers.get(layer as usize).copied().unwrap_or(false);
            if is(&recurrent) {
                continue;
            }
            let (key, value, sum) = match is(&windowed) {
                true => (windowed_key, windowed_value, &mut cache.windowed_bytes),
                false => (key, value, &mut cache.whole_bytes),
            };
            let numbers = u64::from(key) + if is_compressed { 0 } else { value.into() };
            let bytes = numbers.checked_mul(u64::from(kv_heads))?.checked_mul(NUMBER_BYTES)?;
            *sum = sum.checked_add(bytes)?;
        }
        Some(cache)
    }

    /// How many layers, from the first, keep something of their own.
    fn keeping_layers(&self) -> u32 {
        let shared = self.u32("attention.shared_kv_layers").unwrap_or(0);
        match self.architecture {
            "gemma3n" => self.computing_layers().min(20),
            "gemma4" => self.computing_layers().min(self.layers.saturating_sub(shared)),
            "nemotron_h" | "nemotron_h_moe" => self.layers,
            _ => self.computing_layers(),
        }
    }

    /// How many layers, from the first, are not there only to guess further tokens.
    fn computing_layers(&self) -> u32 {
        match self.layers.saturating_sub(self.u32("nextn_predict_layers").unwrap_or(0)) {
            // All of the model is.
            0 => self.layers,
            layers => layers,
        }
    }

    /// The tokens of a window; 0 where no layer has one.
    fn window(&self) -> u32 {
        let stated = self.u32("attention.sliding_window");
        let takes_turns = TAKING_TURNS.iter().any(|(family, ..)| *family == self.architecture);
        match self.architecture {
            "exaone4" if self.computing_layers() != 64 => 0,
            "exaone4" | "gemma2" => stated.unwrap_or(4096),
            "llama4" if stated != Some(0) => 8192,
            "smallthinker" if stated > Some(0) => 4096,
            "lfm2" => stated.unwrap_or(0),
            family if takes_turns || SAYING_SO.contains(&family) => stated.unwrap_or(0),
            _ => 0,
        }
    }

    /// Which layers have a window.
    fn windowed_layers(&self) -> Option<Vec<bool>> {
        if self.architecture == "lfm2" {
            return Some(vec![true; self.layers as usize]);
        }
        let pattern = "attention.sliding_window_pattern";
        if let Some(said) = self.metadata.list(&self.key(pattern)) {
            return Some(said.iter().map(|&is_windowed| is_windowed != 0).collect());
        }
        let (_, period, is_first) = TAKING_TURNS.iter().find(|(family, ..)| *family == self.architecture)?;
        let period = self.u32(pattern).unwrap_or(*period);
        let sees_everything = if *is_first { 0 } else { period.saturating_sub(1) };
        Some(
            (0..self.computing_layers())
                .map(|layer| period == 0 || layer % period != sees_everything)
                .collect(),
        )
    }

    /// Which layers keep a state and no keys and values, besides those that have no heads for them.
    fn recurrent_layers(&self) -> Option<Vec<bool>> {
        let Some((_, period)) = PARTLY_RECURRENT.iter().find(|(family, _)| *family == self.architecture)
        else {
            return Some(Vec::new());
        };
        if self.has("attention.recurrent_layers") {
            let said = self.per_layer("attention.recurrent_layers")?;
            return Some(said.iter().map(|&is_recurrent| is_recurrent != 0).collect());
        }
        let period = self.u32("full_attention_interval").unwrap_or(*period);
        (0..self.layers).map(|layer| Some((layer + 1).checked_rem(period)? != 0)).collect()
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn has(&self, name: &str) -> bool {
        self.metadata.has(&self.key(name))
    }

    fn u32(&self, name: &str) -> Option<u32> {
        self.metadata.u32(&self.key(name))
    }

    fn per_layer(&self, name: &str) -> Option<Vec<u32>> {
        self.metadata.per_layer(&self.key(name), self.layers)
    }
}
