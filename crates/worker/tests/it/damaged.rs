//! Workers that are given damaged models: each says so, soon, or the damage does not matter.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tempfile::TempDir;

use crate::support::{Failure, Worker, say, whole_model};

/// So many damaged files must be refused.
const REFUSED: usize = 200;
/// Processor time: tests run side by side.
const MOST_SECONDS: f64 = 1.0;
const MOST_BYTES: u64 = 64 << 20;
/// The exit code of `bad_model`.
const BAD_MODEL: u64 = 65;

#[test]
fn two_hundred_damaged_models_are_refused_and_no_worker_dies() {
    let model = Model::read(&whole_model());
    let mut rng = Rng::with_seed(4);
    let mut report = Report::default();
    for round in 0.. {
        if report.refused >= REFUSED {
            break;
        }
        assert!(round < 2 * REFUSED, "most of what is damaged is not refused: {report:?}");
        let (damage, file) = model.damaged(&mut rng);
        report.try_one(&damage, &file);
    }
    assert!(report.wrong.is_empty(), "{:#?}", report.wrong);
    // Shown with `--no-capture`.
    say(&format!("{report:?}"));
}

/// Templates that would take all of the time or the memory by repeating something.
#[test]
fn a_template_that_repeats_without_end_is_refused() {
    let model = Model::read(&whole_model());
    // Wherever its header ends then, there is room for the tensors.
    let len = model.len + (1 << 20);
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
    let bombs = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'boom' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ range(1000000000) | list }}",
        "{{ 'boom'.ljust(1000000000) }}",
        "{{ 'boom'.replace('', 'boom' * 99999) }}",
        "{{ '%1000000000d' % 1 }}",
        &deep,
    ];
    let mut wrong = Vec::new();
    for bomb in bombs {
        let file = copy(&model.with_template(bomb), len);
        let mut worker = Worker::start(&file.path);
        match worker.loaded() {
            Ok(()) => {
                let (seconds, bytes) = worker.used();
                let answer = worker.infer();
                let (seconds, bytes) = (worker.used().0 - seconds, worker.used().1 - bytes);
                let is_refused = answer.contains(r#""error":{"code":"#) && !answer.contains("internal");
                if !is_refused || seconds > MOST_SECONDS || bytes > MOST_BYTES {
                    wrong.push(format!("{bomb:.100}: {answer} ({seconds} s, {} MiB)", bytes >> 20));
                }
            }
            Err(Failure::Refused { exit_code: BAD_MODEL, .. }) => {}
            Err(failure) => wrong.push(format!("{bomb:.100}: {failure:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[derive(Debug, Default)]
struct Report {
    refused: usize,
    /// Those whose damage does not matter: they load and answer.
    harmless: usize,
    most_seconds: f64,
    most_bytes: u64,
    /// Those that only llama.cpp refused.
    by_llama_cpp: Vec<String>,
    wrong: Vec<String>,
}

impl Report {
    fn try_one(&mut self, damage: &str, file: &Damaged) {
        let mut worker = Worker::start(&file.path);
        match worker.loaded() {
            Ok(()) => {
                self.harmless += 1;
                let answer = worker.infer();
                if !answer.contains("data: [DONE]") && !answer.contains(r#""error""#) {
                    self.wrong.push(format!("{damage}: loaded, then {answer}: {}", worker.log()));
                }
            }
            Err(Failure::Refused { exit_code, message }) => {
                self.refused += 1;
                let (seconds, bytes) = worker.used();
                self.most_seconds = self.most_seconds.max(seconds);
                self.most_bytes = self.most_bytes.max(bytes);
                let text = format!("{damage}: {message} ({seconds} s, {} MiB)", bytes >> 20);
                // That is found when the tensors are mapped, which takes no memory of its own.
                let mapped = if message.contains("chat template") { file.len } else { 0 };
                if exit_code != BAD_MODEL || seconds > MOST_SECONDS || bytes > MOST_BYTES + mapped {
                    self.wrong.push(format!("{text}, exit code {exit_code}"));
                }
                if message.contains("error loading model") {
                    self.by_llama_cpp.push(text);
                }
            }
            Err(Failure::Ended(how)) => self.wrong.push(format!("{damage}: {how}: {}", worker.log())),
        }
    }
}

/// A damaged copy whose tensors are a hole in the file: it takes the disk no more than its header does.
struct Damaged {
    path: PathBuf,
    len: u64,
    _folder: TempDir,
}

/// A whole model's header, and where its fields are.
struct Model {
    header: Vec<u8>,
    len: u64,
    /// Numbers that say what comes next: counts, lengths, types, extents and offsets.
    structure: Vec<Field>,
    /// The values of the metadata entries that are no arrays.
    values: Vec<Field>,
    keys: Vec<Field>,
    /// The tokens' texts.
    tokens: Vec<Field>,
}

#[derive(Clone)]
struct Field {
    name: String,
    at: usize,
    len: usize,
}

impl Model {
    fn read(path: &Path) -> Self {
        let file = File::open(path).expect("the test model");
        let len = file.metadata().expect("an open file").len();
        let mut beginning = Vec::new();
        file.take(4 << 20).read_to_end(&mut beginning).expect("the test model can be read");
        let mut walk = Walk {
            bytes: &beginning,
            at: 0,
            structure: Vec::new(),
            values: Vec::new(),
            keys: Vec::new(),
            tokens: Vec::new(),
        };
        walk.walk();
        let Walk { at, structure, values, keys, tokens, .. } = walk;
        beginning.truncate(at);
        Self { header: beginning, len, structure, values, keys, tokens }
    }

    /// A copy with some damage, and what that is.
    fn damaged(&self, rng: &mut Rng) -> (String, Damaged) {
        let mut header = self.header.clone();
        let mut len = self.len;
        let damage = match rng.u32(0..10) {
            0 => {
                len = rng.u64(0..self.header.len() as u64);
                format!("cut off at {len}, within the header")
            }
            1 => {
                len = rng.u64(self.header.len() as u64..self.len);
                format!("cut off at {len}")
            }
            2..=5 => {
                let field = rng.choice(&self.structure).expect("a model has fields");
                let damage = match rng.u32(0..4) {
                    0 => flip(&mut header, field, rng),
                    1 => fill(&mut header, field, 0xff),
                    2 => fill(&mut header, field, 0),
                    _ => scramble(&mut header, field, rng),
                };
                format!("{damage} of {}", field.name)
            }
            6 => {
                let field = rng.choice(&self.values).expect("a model has metadata");
                let damage = match rng.u32(0..3) {
                    0 => flip(&mut header, field, rng),
                    1 => fill(&mut header, field, 0xff),
                    _ => fill(&mut header, field, 0),
                };
                format!("{damage} of the value of {}", field.name)
            }
            7 => {
                let field = rng.choice(&self.keys).expect("a model has metadata");
                format!("{} of the key {}", flip(&mut header, field, rng), field.name)
            }
            8 => {
                let twice = rng.choice(&self.tokens).expect("a model has a vocabulary").clone();
                let same = self.tokens.iter().filter(|other| other.len == twice.len && other.at != twice.at);
                let other = rng.choice(same.collect::<Vec<_>>()).expect("it is no token's only length");
                header.copy_within(twice.at..twice.at + twice.len, other.at);
                "a token that is there twice".to_owned()
            }
            _ => {
                let start = rng.usize(24..header.len() - 4096);
                let from = rng.usize(0..header.len() - 4096);
                let block = rng.usize(1..4096);
                header.copy_within(from..from + block, start);
                format!("{block} bytes of elsewhere at {start}")
            }
        };
        (damage, copy(&header, len))
    }

    /// The header with another chat template.
    fn with_template(&self, template: &str) -> Vec<u8> {
        let mut values = self.values.iter();
        let old = values.find(|value| value.name == "tokenizer.chat_template").expect("a chat model");
        let mut header = self.header.clone();
        let text = [&(template.len() as u64).to_le_bytes(), template.as_bytes()].concat();
        header.splice(old.at - 8..old.at + old.len, text);
        header
    }
}

fn copy(header: &[u8], len: u64) -> Damaged {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("damaged.gguf");
    let mut file = File::create(&path).expect("a file in the test's folder");
    file.write_all(header).and_then(|()| file.set_len(len)).expect("room for a header");
    Damaged { path, len, _folder: folder }
}

fn flip(header: &mut [u8], field: &Field, rng: &mut Rng) -> String {
    let bit = rng.usize(0..field.len * 8);
    header[field.at + bit / 8] ^= 1 << (bit % 8);
    format!("bit {bit}")
}

fn fill(header: &mut [u8], field: &Field, byte: u8) -> String {
    header[field.at..field.at + field.len].fill(byte);
    format!("{byte:#x} in place")
}

fn scramble(header: &mut [u8], field: &Field, rng: &mut Rng) -> String {
    rng.fill(&mut header[field.at..field.at + field.len]);
    "noise in place".to_owned()
}

/// Goes through the header of a file that is whole.
struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
    structure: Vec<Field>,
    values: Vec<Field>,
    keys: Vec<Field>,
    tokens: Vec<Field>,
}

impl Walk<'_> {
    fn walk(&mut self) {
        self.number("the magic", 4);
        self.number("the version", 4);
        let tensors = self.number("the number of tensors", 8);
        let pairs = self.number("the number of metadata entries", 8);
        for _ in 0..pairs {
            let key = self.text("a key's length");
            let name = String::from_utf8_lossy(&self.bytes[key.at..key.at + key.len]).into_owned();
            self.keys.push(Field { name: name.clone(), ..key });
            let kind = self.number(&format!("the type of {name}"), 4);
            self.value(&name, kind);
        }
        for _ in 0..tensors {
            self.text("a tensor's name's length");
            let dimensions = self.number("a tensor's number of dimensions", 4);
            for _ in 0..dimensions {
                self.number("a tensor's extent", 8);
            }
            self.number("a tensor's type", 4);
            self.number("a tensor's offset", 8);
        }
    }

    fn value(&mut self, name: &str, kind: u64) {
        match kind {
            8 => {
                let text = self.text(&format!("the length of {name}"));
                self.values.push(Field { name: name.to_owned(), ..text });
            }
            9 => {
                let kind = self.number(&format!("the elements' type of {name}"), 4);
                let count = self.number(&format!("the number of {name}"), 8);
                for _ in 0..count {
                    if kind == 8 {
                        let len = self.peek(8) as usize;
                        if name == "tokenizer.ggml.tokens" && len > 2 {
                            self.tokens.push(Field { name: String::new(), at: self.at + 8, len });
                        }
                        self.at += 8 + len;
                    } else {
                        self.at += width(kind);
                    }
                }
            }
            scalar => {
                let len = width(scalar);
                self.values.push(Field { name: name.to_owned(), at: self.at, len });
                self.at += len;
            }
        }
    }

    fn peek(&self, len: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        u64::from_le_bytes(bytes)
    }

    fn number(&mut self, name: &str, len: usize) -> u64 {
        self.structure.push(Field { name: name.to_owned(), at: self.at, len });
        let number = self.peek(len);
        self.at += len;
        number
    }

    /// A text behind its length.
    fn text(&mut self, name: &str) -> Field {
        let len = self.number(name, 8) as usize;
        let field = Field { name: String::new(), at: self.at, len };
        self.at += len;
        field
    }
}

fn width(kind: u64) -> usize {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    }
}

#[test]
fn a_model_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |path: &Path| match Worker::start(path).loaded() {
        Err(Failure::Refused { exit_code, .. }) => exit_code,
        other => panic!("{}: {other:?}", path.display()),
    };
    assert_eq!(refused(&folder.path().join("missing.gguf")), 66);
    assert_eq!(refused(folder.path()), 74);
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, b"").expect("a file in the test's folder");
    assert_eq!(refused(&empty), 65);
}
