//! What can be said on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rbee_protocol::KeyName;

use crate::complete;

/// One private LLM service from the machines you already own.
///
/// The answer goes to stdout and nothing else does: what the service says about its work goes to stderr. The
/// service is started by the first command that needs it.
#[derive(Debug, Parser)]
#[command(name = "rbee", version, propagate_version = true, after_help = EXAMPLES, after_long_help = LONG_EXAMPLES)]
pub(crate) struct Cli {
    /// Without one, `rbee` says how things stand.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

impl Cli {
    /// Understands the arguments of this process.
    pub(crate) fn from_arguments() -> Result<Self, clap::Error> {
        Self::understand(std::env::args_os())
    }

    fn understand(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(arguments)?;
        if cli.options.narration == NarrationTo::Stdout && cli.options.output != Output::Text {
            let message = "`--narration stdout` needs `--output text`: its lines are no JSON";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        if let Some(Command::Infer(infer)) = &cli.command
            && infer.logprobs.is_some()
            && !infer.detach
            && cli.options.output == Output::Text
        {
            let message = "`--logprobs` needs `--output json` or `--output ndjson`";
            let mut command = Self::command();
            // So that each knows by which words it is called.
            command.build();
            let infer = command.find_subcommand_mut("infer").expect("it is the one that was understood");
            return Err(infer.error(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }
}

const EXAMPLES: &str = "\
Examples:
  rbee infer \"Why is the sky blue?\"
  git diff | rbee infer \"Write a commit message for this diff:\"
  rbee hive status";

const LONG_EXAMPLES: &str = "\
Examples:
  rbee infer \"Why is the sky blue?\"
  git diff | rbee infer \"Write a commit message for this diff:\"
  rbee hive status
  rbee job list --output json
  rbee queen stop

Exit codes:
  0    done; also when the answer was cut at `--max-tokens` (said on stderr unless `-q`), or stdout was closed early
  1    cancelled by somebody else, or interrupted: the queen or the hive went away in the middle
  2    the command line or the request makes no sense
  65   not a usable model, not usable data, or the prompt does not fit the context
  66   no such model, job, hive or file
  69   nobody there to do it, or too little memory for the model
  70   a worker crashed or hung, or a bug
  74   reading or writing failed, or the disk is full
  75   busy: try again
  77   no key, or not allowed
  129  ended with its terminal (SIGHUP)
  130  cancelled with Ctrl-C
  143  told to end (SIGTERM)";

/// The options that every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The form of the answer on stdout
    #[arg(long, global = true, value_name = "FORM", default_value = "text", help_heading = "Output")]
    pub(crate) output: Output,
    /// No narration, no progress, no notes; errors stay
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Show the lines meant for whoever looks into a problem, too
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// Where the lines go in which the service tells what it does
    #[arg(long, global = true, value_name = "WHERE", default_value = "stderr", help_heading = "Output")]
    pub(crate) narration: NarrationTo,
    /// Whether to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub(crate) color: ColorChoice,
}

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people, and the tokens as they come
    Text,
    /// One JSON value at the end
    Json,
    /// The job's events, each as a line of JSON as it comes
    Ndjson,
}

/// The places for narration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NarrationTo {
    /// Beside the answer
    Stderr,
    /// Among the answer, for scripts that pipe the lines themselves
    Stdout,
    /// Nowhere
    Off,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    Auto,
    /// Also into a pipe
    Always,
    /// Not at all
    Never,
}

impl ColorChoice {
    /// What the arguments ask for, as far as can be told before they are understood.
    pub(crate) fn peek(arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<_> = arguments.take_while(|argument| argument != "--").collect();
        let value = arguments.iter().enumerate().find_map(|(i, argument)| {
            let argument = argument.to_str()?;
            match argument.strip_prefix("--color")? {
                "" => arguments.get(i + 1)?.to_str(),
                value => value.strip_prefix('='),
            }
        });
        value.and_then(|value| Self::from_str(value, false).ok()).unwrap_or(Self::Auto)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt with a model's tokens, as they come
    ///
    /// The prompt is what the arguments say, what stdin says when it is a pipe or a file, or both: first the
    /// arguments, then an empty line, then stdin. Ctrl-C cancels the answer.
    Infer(Box<Infer>),
    /// Talk with a model, turn by turn
    ///
    /// Each line is a message, and so is what stands between `"""` and `"""`, or several lines that all but the last
    /// end in `\`. /help lists the commands. Ctrl-C stops the answer, Ctrl-D leaves. Conversations are kept in files of
    /// your own; `--continue` goes on with the last. Where stdin is a pipe or a file, its lines are answered in turn.
    Chat(Box<Chat>),
    /// Turn texts into vectors that tell how near they are in meaning
    ///
    /// Each argument is a text, and so is each line of stdin when that is a pipe or a file: at most 1,024 together, and
    /// none of them blank. Each vector is a line of numbers on stdout, in the order of the texts. The cosine of two
    /// texts is the sum of the products of their numbers.
    Embed(Embed),
    /// Tell about the queen, its hives and their workers
    Status,
    /// Look at hives, the machines, and pause them
    #[command(subcommand)]
    Hive(Hive),
    /// Look at workers, the processes that each run one model, start and stop them
    #[command(subcommand)]
    Worker(Worker),
    /// Bring models, look at them, take them away
    #[command(subcommand)]
    Model(Model),
    /// Look at jobs, read them again, cancel them
    #[command(subcommand)]
    Job(Job),
    /// Give others keys of their own, and revoke them
    #[command(subcommand)]
    Key(Key),
    /// Show what happens to the service: jobs, hives, workers, keys
    ///
    /// From the first event that is still kept, then as it happens, until Ctrl-C or until the queen stops. It tells
    /// of everybody's jobs, but never what is in them. For operators.
    #[command(after_help = "\
Examples:
  rbee events
  rbee events --output ndjson | jq 'select(.kind == \"job_ended\")'")]
    Events {
        /// Begin after the event of this number
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        after: u64,
    },
    /// Start, stop and examine the queen: the daemon that takes the jobs
    #[command(subcommand)]
    Queen(Queen),
    /// Look for what keeps rbee from working, and say what to do about it
    ///
    /// It starts nothing and changes nothing, and works with the daemons down and the settings damaged. The exit code is 0
    /// when there is no problem, also with warnings, and that of the first problem otherwise.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Stop the daemons, and remove what rbee has written on this machine
    ///
    /// Settings, keys, jobs, logs, sockets, the service and completions; models only with `--models`. What rbee did not write
    /// itself stays, and so does what links lead to. The programs stay, too.
    #[command(after_help = "\
Examples:
  rbee uninstall --dry-run --models
  rbee uninstall --yes")]
    Uninstall(Uninstall),
    /// Print what makes a shell complete `rbee` commands
    ///
    /// Commands and options, and models, hives, workers, jobs and keys while the queen runs. It is for this version:
    /// what is read anew by each shell always fits.
    #[command(after_help = "\
Examples:
  echo 'source <(rbee completions bash)' >> ~/.bashrc
  echo 'source <(rbee completions zsh)' >> ~/.zshrc
  echo 'rbee completions fish | source' >> ~/.config/fish/config.fish
  echo 'eval (rbee completions elvish | slurp)' >> ~/.config/elvish/rc.elv
  'rbee completions powershell | Out-String | Invoke-Expression' >> $PROFILE")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the pages of the manual, one for each command, into a folder that there is
    #[command(hide = true)]
    Man {
        /// Which folder
        folder: PathBuf,
    },
}

/// What `rbee uninstall` is to take away.
#[derive(Args, Debug)]
pub(crate) struct Uninstall {
    /// Only list what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also remove the models that rbee has downloaded
    #[arg(long)]
    pub(crate) models: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  rbee doctor
  rbee doctor --bundle report.txt
  rbee doctor --output json | jq '.checks[] | select(.state != \"ok\")'";

/// What `rbee doctor` is to do with what it finds.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Write what was found, versions, settings, events and the ends of logs to a file, for a report of a bug; without
    /// prompts, answers and keys
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Write over the file if it is there
    #[arg(long, requires = "bundle")]
    pub(crate) overwrite: bool,
}

/// What `rbee embed` is to turn into vectors.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rbee embed \"The cat sat on the mat\" \"A feline rested on a rug\"
  rbee embed -m ./my-embedder.gguf < lines.txt > vectors.txt
  rbee embed --output json hello | jq '.embeddings[0].values | length'")]
pub(crate) struct Embed {
    /// The texts
    #[arg(value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) texts: Vec<String>,
    /// A model's name (see `rbee model list`), or the path of a .gguf file
    #[arg(short, long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new(), add = complete::models())]
    pub(crate) model: Option<String>,
    /// Cut off at a text's end what the model does not take, where such a text is refused otherwise
    #[arg(long)]
    pub(crate) truncate: bool,
    #[command(flatten)]
    pub(crate) keep_alive: KeepAlive,
    /// Leave stdin alone, e.g. in a loop that reads it
    #[arg(long)]
    pub(crate) no_stdin: bool,
}

/// What `rbee infer` is to answer, and how.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rbee infer \"Why is the sky blue?\"
  rbee infer --max-tokens 50 --temperature 0 Count to ten
  rbee infer -m ./my-model.gguf --system \"You are a poet.\" \"The sea\"
  rbee infer \"Summarise:\" < report.txt > summary.txt
  rbee infer -m ./base.gguf --raw --max-tokens 50 \"Once upon a time\"
  rbee infer --output json \"hello\" | jq -r .text
  rbee infer --json-schema '{\"type\":\"array\",\"items\":{\"type\":\"string\"}}' \"Name three colours\" | jq length
  rbee infer --detach \"Write a long story\" && rbee job list
  while read -r line; do rbee infer --no-stdin \"Translate: $line\"; done < lines.txt")]
pub(crate) struct Infer {
    /// What to answer; several words are joined by spaces
    pub(crate) prompt: Vec<String>,
    /// A model's name (see `rbee model list`), or the path of a .gguf file
    #[arg(short, long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new(), add = complete::models())]
    pub(crate) model: Option<String>,
    /// Instructions that stand before the prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Go on with the prompt as it stands, without the model's chat template; for models that have none
    #[arg(long, conflicts_with = "system")]
    pub(crate) raw: bool,
    /// A file with a JSON list of tools that the model may ask for; what it asks for is printed
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    pub(crate) tools: Option<PathBuf>,
    /// Generate at most so many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// End the answer before this text; can be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    /// Instead of refusing what does not fit, leave out the oldest messages of a chat, or with `--raw` the beginning
    #[arg(long)]
    pub(crate) truncate: bool,
    /// Answer with JSON that meets this JSON Schema: a file, or the schema itself; `true` for any JSON
    #[arg(long, value_name = "SCHEMA", value_parser = NonEmptyStringValueParser::new(), help_heading = "Form")]
    pub(crate) json_schema: Option<String>,
    /// Answer with a text of the grammar in this file, which is written in GBNF
    #[arg(long, value_name = "FILE", conflicts_with = "json_schema", help_heading = "Form")]
    pub(crate) grammar: Option<PathBuf>,
    /// Tell how likely each token was, and N others in its place; with `--output json` or `ndjson`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=20), help_heading = "Form")]
    pub(crate) logprobs: Option<u32>,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) keep_alive: KeepAlive,
    /// Leave stdin alone, e.g. in a loop that reads it
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Print the job's id and leave; `rbee job attach` follows it from anywhere
    #[arg(long)]
    pub(crate) detach: bool,
    /// Answer nothing, and tell where the answer would be computed and why
    #[arg(long, conflicts_with = "detach")]
    pub(crate) dry_run: bool,
}

/// What `rbee chat` talks to, and how.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rbee chat
  rbee chat -m ./my-model.gguf --system \"You are a poet.\"
  rbee chat --continue
  printf 'My name is Ada.\\nWhat is my name?\\n' | rbee chat")]
pub(crate) struct Chat {
    /// A model's name (see `rbee model list`), or the path of a .gguf file
    #[arg(short, long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new(), add = complete::models())]
    pub(crate) model: Option<String>,
    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Go on with the conversation that was kept last
    #[arg(short = 'c', long = "continue")]
    pub(crate) goes_on: bool,
    /// Generate at most so many tokens for each answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// End each answer before this text; can be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) keep_alive: KeepAlive,
}

/// How tokens are chosen.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sampling {
    /// How freely to choose tokens: 0 always takes the likeliest; 0.8 if absent
    #[arg(long, value_name = "X", value_parser = not_negative, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) temperature: Option<f32>,
    /// Choose among the N likeliest tokens; 0 for all, 40 if absent
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) top_k: Option<u32>,
    /// Choose among the likeliest tokens that make up this probability together, 0 to 1; 0.95 if absent
    #[arg(long, value_name = "P", value_parser = not_negative, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) top_p: Option<f32>,
    /// Choose among tokens at least this likely compared with the likeliest, 0 to 1; 0.05 if absent
    #[arg(long, value_name = "P", value_parser = not_negative, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) min_p: Option<f32>,
    /// Choose among the most typical tokens that make up this probability together, above 0 up to 1; 1, for all, if absent
    #[arg(long, value_name = "P", value_parser = not_negative, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) typical_p: Option<f32>,
    /// Make tokens that came lately less likely: above 0 up to 10, where 1 does nothing and less makes them likelier
    #[arg(long, value_name = "X", value_parser = not_negative, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) repetition_penalty: Option<f32>,
    /// Make tokens that came lately less likely by this much, -2 to 2
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) presence_penalty: Option<f32>,
    /// Make tokens that came lately less likely by this much for each time, -2 to 2
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) frequency_penalty: Option<f32>,
    /// Makes the choice of tokens repeatable, as far as no other job is answered at the same time
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Sampling")]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Hive {
    /// Tell about one hive: devices, memory, models, workers
    #[command(after_help = "\
Examples:
  rbee hive status
  rbee hive status --output json | jq .memory_available_bytes")]
    Status {
        /// Which hive; the one on the queen's machine if none is named
        #[arg(add = complete::hives())]
        hive: Option<String>,
    },
    /// List the hives
    List,
    /// Have a hive begin no more work for models, and unload those that nobody uses. For operators
    ///
    /// For when the machine is wanted for something else. What runs goes on to its end, and what comes waits for `resume`.
    Pause {
        /// Which hive; the one on the queen's machine if none is named
        #[arg(add = complete::hives())]
        hive: Option<String>,
    },
    /// Have a hive that was paused go on. For operators
    Resume {
        /// Which hive; the one on the queen's machine if none is named
        #[arg(add = complete::hives())]
        hive: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// List the workers of all hives
    List,
    /// Load a model before anybody asks for it. For operators
    #[command(after_help = "\
Examples:
  rbee worker start
  rbee worker start -m ./my-model.gguf --keep-alive 2h
  rbee worker start -m qwen3-4b --keep-alive forever --pin")]
    Start {
        /// A model's name (see `rbee model list`), or the path of a .gguf file
        #[arg(short, long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new(), add = complete::models())]
        model: Option<String>,
        #[command(flatten)]
        keep_alive: KeepAlive,
        /// Never unload it to make room for another
        #[arg(long)]
        pin: bool,
    },
    /// End a worker at once; the jobs that it has fail. For operators
    Stop {
        /// Which worker (see `rbee worker list`)
        #[arg(add = complete::workers())]
        worker: String,
    },
    /// Have a worker take no more jobs, and end when it has done those that it has. For operators
    Drain {
        /// Which worker (see `rbee worker list`)
        #[arg(add = complete::workers())]
        worker: String,
        /// What has not ended by then fails
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
        deadline: Duration,
    },
    /// Print the end of the workers' log, which they share
    Logs {
        /// So many lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        lines: usize,
        /// Go on with what is added, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
}

/// For how long a model stays loaded.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// For so long without a job the model stays loaded, e.g. `10m`, `0` or `forever`; as the settings say if absent
    #[arg(long = "keep-alive", value_name = "TIME", value_parser = keep_alive)]
    pub(crate) keep_alive_s: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// List the models of all hives, and the aliases
    ///
    /// Those that Hugging Face's programs, Ollama, LM Studio and llama.cpp have downloaded are used where they are.
    List,
    /// Download a model, or go on with a download
    ///
    /// What was cut off goes on from where it was. The file is a model only when its SHA-256 is what its source says. For
    /// operators.
    #[command(after_help = "\
Examples:
  rbee model pull qwen3-4b
  rbee model pull hf:Qwen/Qwen3-4B-GGUF:Q4_K_M
  rbee model pull https://huggingface.co/Qwen/Qwen3-4B-GGUF
  rbee model pull ollama:llama3.2:1b
  rbee model pull https://example.org/models/my-model.gguf
  rbee model pull ./my-model.gguf

`HF_TOKEN`, `HF_ENDPOINT` and those for proxies are honoured as they were when the hive was started.")]
    Pull {
        /// `hf:owner/repository[:quantization]`, `ollama:name[:tag]`, a URL, a file, or a short name (see `rbee model search`)
        #[arg(value_name = "REF", value_parser = NonEmptyStringValueParser::new(), add = complete::model_paths())]
        model: String,
    },
    /// Tell about one model: what it is, where it came from, what it takes
    Show {
        /// A model's name (see `rbee model list`), or the path of a .gguf file; the default model if none is named
        #[arg(value_parser = NonEmptyStringValueParser::new(), add = complete::models())]
        model: Option<String>,
    },
    /// Take a model off the disk, but for what other models need. For operators
    Rm {
        /// A model's name (see `rbee model list`)
        #[arg(value_parser = NonEmptyStringValueParser::new(), add = complete::downloaded_models())]
        model: String,
    },
    /// Look for models that could be pulled: in a short list of rbee's own, then on Hugging Face
    #[command(after_help = "\
Examples:
  rbee model search qwen3 4b
  rbee model search --limit 5 llama
  rbee model search embed --output json | jq -r '.models[].reference'")]
    Search {
        /// Words of its name
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        words: Vec<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// Compare models' files with what they were when they came. For operators
    Verify {
        /// A model's name; all models if none is named
        #[arg(value_parser = NonEmptyStringValueParser::new(), add = complete::downloaded_models())]
        model: Option<String>,
    },
    /// Have a name of your choice stand for a model
    ///
    /// For programs that insist on a name: whoever asks for that gets this model, and is told so. For operators.
    #[command(after_help = "\
Examples:
  rbee model alias gpt-4o SmolLM2-135M-Instruct.Q4_1
  rbee model alias big ./my-model.gguf
  rbee model alias gpt-4o --remove")]
    Alias {
        /// The name; it goes before a model's own
        #[arg(value_parser = NonEmptyStringValueParser::new(), add = complete::aliases())]
        name: String,
        /// A model's name (see `rbee model list`), or the path of a .gguf file
        #[arg(value_parser = NonEmptyStringValueParser::new(), add = complete::models(), required_unless_present = "remove")]
        model: Option<String>,
        /// Have it stand for nothing any more
        #[arg(long, conflicts_with = "model")]
        remove: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List your jobs, newest first
    List {
        /// The jobs of everybody, with their owners
        #[arg(long)]
        all: bool,
    },
    /// Tell about one job
    #[command(after_help = JOB_IDS)]
    Show {
        /// The job's id, or the beginning of it
        #[arg(add = complete::jobs())]
        id: String,
    },
    /// Follow a job as if this command had started it
    ///
    /// The answer goes to stdout from its beginning, the exit code is the job's. Several can follow one job. Ctrl-C
    /// ends the following, not the job.
    #[command(after_help = JOB_IDS)]
    Attach {
        /// The job's id, or the beginning of it
        #[arg(add = complete::jobs())]
        id: String,
    },
    /// Tell why a job runs where it does: which hives and workers were considered, and why
    ///
    /// `rbee infer --dry-run` tells the same of a prompt that is not answered.
    #[command(after_help = JOB_IDS)]
    Explain {
        /// The job's id, or the beginning of it
        #[arg(add = complete::jobs())]
        id: String,
    },
    /// Print what a job printed, and follow it while it runs
    ///
    /// The answer goes to stdout, the narration to stderr, as they did when the job was new. The exit code is 0
    /// however the job ended. Ctrl-C ends the reading, not the job.
    #[command(after_help = JOB_IDS)]
    Logs {
        /// The job's id, or the beginning of it
        #[arg(add = complete::jobs())]
        id: String,
    },
    /// Cancel a job, and wait until it has ended
    ///
    /// Somebody else's job is told to stop as well, but not waited for: its stream is for its owner alone.
    #[command(after_help = JOB_IDS)]
    Cancel {
        /// The job's id, or the beginning of it
        #[arg(add = complete::running_jobs())]
        id: String,
    },
}

const JOB_IDS: &str = "\
An id may be shortened as long as it fits one of your jobs only, with or without `job-`:
  rbee job show job-3f9c
  rbee job attach 3f9c";

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key and print it, this once
    ///
    /// Whoever has it talks to the queen over HTTP under its name, and sees their own jobs alone.
    #[command(after_help = "\
Examples:
  rbee key create ada > ada.key
  rbee key create ci --output json | jq -r .key")]
    Create {
        /// Whose key it is: a-z, 0-9, `.`, `_` and `-`, at most 64 of them
        name: KeyName,
        /// What they may do
        #[arg(long, value_name = "ROLE", default_value = "user")]
        role: Role,
    },
    /// List the keys, which are not shown themselves
    List,
    /// Revoke a key at once, and cut what its holder is reading
    ///
    /// Their jobs stay, and are those of whoever gets a key of the same name: to replace a key, revoke it and
    /// create it again.
    Revoke {
        /// Whose key it is
        #[arg(add = complete::keys())]
        name: KeyName,
    },
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Have jobs of their own
    User,
    /// Also give and revoke keys, see and cancel everybody's jobs, and stop the queen
    Operator,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queen {
    /// Start the queen, unless it runs already
    Start,
    /// Stop the queen, the hive on its machine, and the hive's workers
    Stop {
        /// Leave the hive running
        #[arg(long)]
        keep_hive: bool,
    },
    /// Say whether the queen runs; the exit code is 69 when it does not
    Status,
    /// Print the end of the queen's log
    #[command(after_help = "\
Examples:
  rbee queen logs -n 200
  rbee queen logs --follow")]
    Logs {
        /// So many lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        lines: usize,
        /// Go on with what is added, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
    /// Be the queen, in the foreground
    Run,
    /// Have the system start the queen when you log in, as a service of yours, and again when it fails
    ///
    /// Writes a unit for systemd, on macOS a plist for launchd, and says with which commands it is enabled. With another home
    /// or another place of the programs, install again. `rbee uninstall` takes it away.
    #[command(after_help = "\
Examples:
  rbee queen install --now
  rbee queen install --dry-run")]
    Install {
        /// Enable and start it, too
        #[arg(long, conflicts_with = "dry_run")]
        now: bool,
        /// Print what would be written
        #[arg(long)]
        dry_run: bool,
    },
}

fn keep_alive(text: &str) -> Result<i64, String> {
    match text {
        "forever" => Ok(-1),
        text => i64::try_from(time(text)?.as_secs()).map_err(|error| error.to_string()),
    }
}

/// A time such as `10m`, or a number of seconds.
fn time(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "not a time such as `90s`, `10m` or `2h`".to_owned())
}

fn not_negative(text: &str) -> Result<f32, String> {
    let number = finite(text)?;
    if number >= 0.0 { Ok(number) } else { Err("not a number from 0 up".to_owned()) }
}

fn finite(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    // JSON has no word for what is not finite.
    if number.is_finite() { Ok(number) } else { Err("not a finite number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::understand(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_all_commands_may_stand_anywhere() {
        for line in
            ["rbee --output json hive list", "rbee hive --output json list", "rbee hive list --output json"]
        {
            assert_eq!(parse(line).expect(line).options.output, Output::Json, "{line}");
        }
    }

    #[test]
    fn a_prompt_is_all_words_that_are_no_options() {
        let cli = parse("rbee infer why is --seed 7 it blue -- --now").expect("a prompt");
        let Some(Command::Infer(infer)) = cli.command else { panic!("it is infer") };
        assert_eq!(infer.prompt, ["why", "is", "it", "blue", "--now"]);
        assert_eq!(infer.sampling.seed, Some(7));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_exit_code_2() {
        for line in [
            "rbee explode",
            "rbee hive",
            "rbee job show",
            "rbee key create",
            "rbee key create Ada",
            "rbee key create ada --role king",
            "rbee key revoke ../jobs",
            "rbee model alias",
            "rbee model alias gpt-4o",
            "rbee model alias gpt-4o m --remove",
            "rbee model pull",
            "rbee model search",
            "rbee model search x --limit 0",
            "rbee worker stop",
            "rbee worker drain worker-1 --deadline soon",
            "rbee infer x --keep-alive long",
            "rbee chat hello",
            "rbee chat --seed many",
            "rbee infer x --temperature hot",
            "rbee infer x --temperature nan",
            "rbee infer x --top-p inf",
            "rbee infer x --max-tokens 0",
            "rbee infer x --raw --system y",
            "rbee infer x --presence-penalty inf",
            "rbee infer x --logprobs 5",
            "rbee infer x --output json --logprobs 21",
            "rbee infer x --json-schema true --grammar g",
            "rbee job attach",
            "rbee status -q -v",
            "rbee status --output xml",
            "rbee status --output json --narration stdout",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_one_command_does_not_take_is_told_with_its_own_usage() {
        let told = parse("rbee infer x --logprobs 5").expect_err("it is text").to_string();
        assert!(told.contains("Usage: rbee infer [OPTIONS]"), "{told}");
    }

    #[test]
    fn every_command_knows_its_version_and_helps() {
        assert_eq!(
            parse("rbee hive list --version").expect_err("no command").kind(),
            ErrorKind::DisplayVersion
        );
        assert_eq!(parse("rbee queen logs --help").expect_err("no command").exit_code(), 0);
    }

    #[test]
    fn the_exit_codes_in_the_help_are_those_of_the_readme() {
        let readme = include_str!("../../../README.md");
        let table = readme.split_once("| exit code | meaning |\n|---|---|\n").expect("a table").1;
        let told =
            table.lines().map_while(|row| row.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
        let (_, help) = LONG_EXAMPLES.split_once("Exit codes:\n").expect("a list");
        let helped = help.lines().filter_map(|line| line.trim_start().split_once(' '));
        let helped: Vec<_> = helped.map(|(code, meaning)| (code, meaning.trim_start())).collect();
        assert_eq!(helped, told.collect::<Vec<_>>());
    }

    #[test]
    fn the_colour_is_found_in_arguments_that_make_no_sense() {
        let peek = |line: &str| ColorChoice::peek(line.split(' ').map(OsString::from));
        assert_eq!(peek("rbee --color never explode"), ColorChoice::Never);
        assert_eq!(peek("rbee explode --color=always"), ColorChoice::Always);
        assert_eq!(peek("rbee infer -- --color=always"), ColorChoice::Auto);
        assert_eq!(peek("rbee --color"), ColorChoice::Auto);
    }
}
