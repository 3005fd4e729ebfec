//! How the families of models write what is not plain text. Which it is, the chat template tells.

use crate::chat::Dialect;

/// By this, Llama models begin a call.
pub(crate) const PYTHON_TAG: &str = "<|python_tag|>";

/// How a model writes what is not plain text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Format {
    /// What is around what it thinks before it answers.
    pub(crate) thinking: Option<(&'static str, &'static str)>,
    pub(crate) calls: Calls,
}

/// How a model writes its calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Calls {
    /// Not at all.
    #[default]
    None,
    /// Between signs.
    Between(&'static Between),
    /// As JSON objects that are all of the answer, as Llama models do.
    Bare,
    /// In channels, as gpt-oss does.
    Harmony,
}

/// Signs of calls.
#[derive(Debug)]
pub(crate) struct Between {
    /// What a call begins with.
    pub(crate) open: &'static [&'static str],
    /// What may stand behind a call.
    pub(crate) close: &'static [&'static str],
    /// What is between.
    pub(crate) body: Body,
}

/// What stands between the signs of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// A JSON object with the name and the arguments, or a list of such.
    Json,
    /// The name, which this function finds in what comes before the object of the arguments; or what is JSON.
    Named(fn(&str) -> &str),
    /// `<function=NAME>` and `<parameter=KEY>` around the values, as Qwen's coders write.
    Parameters,
    /// The name, then `<arg_key>` and `<arg_value>` around keys and values, as GLM writes.
    KeysAndValues,
}

static HERMES: Between = Between { open: &["<tool_call>"], close: &["</tool_call>"], body: Body::Json };

static MISTRAL: Between = Between {
    open: &["[TOOL_CALLS]"],
    close: &[],
    body: Body::Named(|text| text.split('[').next().unwrap_or_default()),
};

static FUNCTIONARY: Between = Between {
    open: &["<function="],
    close: &["</function>"],
    body: Body::Named(|text| text.strip_suffix('>').unwrap_or_default()),
};

static DEEPSEEK: Between = Between {
    open: &["<｜tool▁calls▁begin｜>", DEEPSEEK_CALL],
    close: &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
    body: Body::Named(|text| {
        let text = text.trim_start_matches(DEEPSEEK_CALL).trim_end();
        match text.strip_suffix("```json") {
            Some(text) => text.trim_end().rsplit(DEEPSEEK_NAME).next().unwrap_or_default(),
            None => text.strip_suffix(DEEPSEEK_NAME).unwrap_or_default(),
        }
    }),
};
const DEEPSEEK_CALL: &str = "<｜tool▁call▁begin｜>";
const DEEPSEEK_NAME: &str = "<｜tool▁sep｜>";

static COMMAND_R: Between =
    Between { open: &["<|START_ACTION|>"], close: &["<|END_ACTION|>"], body: Body::Json };

static GRANITE: Between = Between {
    open: &["<|tool_call|>", "<tool_call>"],
    close: &["<|/tool_call|>", "</tool_call>"],
    body: Body::Json,
};

static QWEN_CODER: Between =
    Between { open: &["<tool_call>"], close: &["</tool_call>"], body: Body::Parameters };

static GLM: Between = Between { open: &["<tool_call>"], close: &["</tool_call>"], body: Body::KeysAndValues };

impl Format {
    /// What a template of this text has its model write.
    pub(crate) fn of(template: &str, dialect: Dialect) -> Self {
        let has = |text: &str| template.contains(text);
        if has("<|channel|>") && has("<|message|>") {
            return Self { thinking: None, calls: Calls::Harmony };
        }
        let thinking =
            [("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("<think>", "</think>")];
        let thinking = thinking.into_iter().find(|(open, close)| has(open) || has(close));
        let calls = match dialect {
            // What we tell the model then.
            Dialect::Text { .. } => Calls::Between(&HERMES),
            Dialect::Fields { .. } if has("[TOOL_CALLS]") => Calls::Between(&MISTRAL),
            Dialect::Fields { .. } if has(DEEPSEEK_CALL) => Calls::Between(&DEEPSEEK),
            Dialect::Fields { .. } if has("<|START_ACTION|>") => Calls::Between(&COMMAND_R),
            Dialect::Fields { .. } if has("<parameter=") => Calls::Between(&QWEN_CODER),
            Dialect::Fields { .. } if has("<arg_key>") => Calls::Between(&GLM),
            Dialect::Fields { .. } if has("<function=") => Calls::Between(&FUNCTIONARY),
            Dialect::Fields { .. } if has("<|tool_call|>") => Calls::Between(&GRANITE),
            Dialect::Fields { .. } if has("<tool_call>") => Calls::Between(&HERMES),
            Dialect::Fields { .. } => Calls::Bare,
        };
        Self { thinking, calls }
    }

    /// What begins a call that is JSON and the only one, behind a prompt that ends like this.
    pub(crate) fn call_beginning(&self, prompt: &str) -> String {
        let is_thinking = self.thinking.filter(|(open, _)| prompt.trim_end().ends_with(open));
        let end_thinking = is_thinking.map(|(_, close)| format!("{close}\n\n")).unwrap_or_default();
        let open = match self.calls {
            Calls::Between(between) => between.open.first().copied().unwrap_or_default(),
            Calls::Harmony => "<|channel|>commentary <|constrain|>json<|message|>",
            Calls::None | Calls::Bare => "",
        };
        format!("{end_thinking}{open}")
    }

    /// What a call's arguments stand under, where it is JSON.
    pub(crate) fn arguments_key(&self) -> &'static str {
        if matches!(self.calls, Calls::Bare) { "parameters" } else { "arguments" }
    }

    /// The texts that mean something, as far as they may be tokens of their own that are not printed
    /// otherwise.
    pub(crate) fn markers(&self) -> Vec<&'static str> {
        let mut markers: Vec<&'static str> = Vec::new();
        markers.extend(self.thinking.iter().flat_map(|(open, close)| [*open, *close]));
        match self.calls {
            Calls::None => {}
            Calls::Between(between) => {
                markers.extend(between.open.iter().chain(between.close));
                markers.extend(["[ARGS]", "[CALL_ID]", DEEPSEEK_NAME]);
            }
            Calls::Bare => markers.push(PYTHON_TAG),
            Calls::Harmony => markers.extend(crate::answer::harmony::SIGNS),
        }
        markers
    }
}
