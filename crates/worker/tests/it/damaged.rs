//! Workers that are given damaged models: each says so, soon, or the damage does not matter.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use tempfile::TempDir;

use crate::support::{Failure, Worker, say, whole_model};

/// So many damaged files must be refused.
const REFUSED: usize = 200;
/// Processor time: tests run side by side.
const MOST_SECONDS: f64 = 1.0;
const MOST_BYTES: u64 = 64 << 20;
const BAD_MODEL: &str = "bad_model";

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

/// Templates that would take all of the time or the memory, each in another way.
#[test]
fn a_template_that_takes_without_end_is_refused() {
    let model = Model::read(&whole_model());
    // Wherever its header ends then, there is room for the tensors.
    let len = model.len + (10 << 20);
    let grown = |what: &str, grow: &str, use_it: &str| {
        let steps = format!("{{% for i in range(60) %}}{{% set ns.x = {grow} %}}{{% endfor %}}");
        format!("{{% set ns = namespace(x={what}) %}}{steps}{{{{ {use_it} }}}}")
    };
    let nested =
        |open: &str, close: &str, times| format!("{}{{{{ 1 }}}}{}", open.repeat(times), close.repeat(times));
    let bombs = [
        // By repeating instructions.
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% for a in range(99999) %}{{ messages | tojson }}{% endfor %}".to_owned(),
        "{% for a in range(9999) recursive %}{{ loop(range(9999)) }}{% endfor %}".to_owned(),
        // By one instruction.
        "{{ 'boom' * 1000000000 }}".to_owned(),
        "{{ [1] * 1000000000 }}".to_owned(),
        "{{ range(1000000000) | list }}".to_owned(),
        "{{ 'boom'.ljust(1000000000) }}".to_owned(),
        "{{ 'boom'.zfill(1000000000) }}".to_owned(),
        "{{ 'boom'.replace('', 'boom' * 99999) }}".to_owned(),
        "{{ '%1000000000d' % 1 }}".to_owned(),
        "{{ '%1000000000d' | format(1) }}".to_owned(),
        "{{ '{:1000000000}'.format(1) }}".to_owned(),
        "{{ 'boom' | center(1000000000) }}".to_owned(),
        "{{ 'boom\nboom' | indent(1000000000) }}".to_owned(),
        "{{ [[1]] | tojson(indent=1000000000) }}".to_owned(),
        "{{ [1] | batch(1000000000, 'boom') | list }}".to_owned(),
        "{{ [1] | slice(1000000000) | list }}".to_owned(),
        "{{ ('boom,' * 10000000).split(',') | sort | join('boom') }}".to_owned(),
        "{{ ('a' * 9999999).replace('a', 'b' * 99999) | length }}".to_owned(),
        "{{ ('ab' * 9999999) in ('a' * 99999999) }}{{ (('a' * 99999) ~ 'b') in ('a' * 99999999) }}".to_owned(),
        // By doubling.
        grown("'boom'", "ns.x + ns.x", "ns.x"),
        grown("'boom'", "ns.x ~ ns.x", "ns.x | length"),
        grown("[1]", "ns.x + ns.x", "ns.x | length"),
        grown("[1]", "ns.x + ns.x", "2 in ns.x"),
        grown("[1]", "[ns.x, ns.x]", "ns.x"),
        grown("[1]", "[ns.x, ns.x]", "(ns.x | string) == 1"),
        grown("{'a': 1}", "{'a': ns.x, 'b': ns.x}", "ns.x | tojson"),
        grown("'boom'", "ns.x.replace('o', ns.x)", "ns.x"),
        grown("'boom'", "[ns.x, ns.x] | join(ns.x)", "ns.x"),
        grown("'boom'", "'%s%s' % (ns.x, ns.x)", "ns.x"),
        grown("99", "ns.x * ns.x", "ns.x"),
        "{% set x %}{{ 'boom' * 99999 }}{% endset %}{% set y %}{% for i in range(99999) %}{{ x }}{% endfor %}{% endset %}{{ y }}".to_owned(),
        // By nesting.
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}".to_owned(),
        nested("{% if 1 %}", "{% endif %}", 99_999),
        nested("{% for a in [1] %}", "{% endfor %}", 99_999),
        format!("{{{{ {}1{} }}}}", "(".repeat(99_999), ")".repeat(99_999)),
        format!("{{{{ {}1{} }}}}", "[".repeat(99_999), "]".repeat(99_999)),
        format!("{{{{ {}1 }}}}", "not ".repeat(99_999)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(999_999)),
        format!("{{{{ x{} }}}}", "|trim".repeat(999_999)),
        // By its size.
        "{{ 1 }}".repeat(1_000_000),
        "{% block a %}{{ 1 }}{% endblock %}".repeat(99_999),
        format!("{{{{ '{}' }}}}", "boom".repeat(2 << 20)),
    ];
    let (mut wrong, mut most_seconds, mut most_bytes): (_, f64, u64) = (Vec::new(), 0.0, 0);
    for bomb in &bombs {
        let file = copy(&model.with_template(bomb), len);
        let mut worker = Worker::start(&file.path);
        let refused = match worker.loaded() {
            Ok(()) => {
                let (_, bytes) = worker.used();
                let began = Instant::now();
                let answer = worker.infer();
                let seconds = began.elapsed().as_secs_f64();
                let bytes = worker.used().1 - bytes;
                most_seconds = most_seconds.max(seconds);
                most_bytes = most_bytes.max(bytes);
                let is_refused = answer.contains(r#""error":{"code":"#) && !answer.contains("internal");
                let is_soon = seconds < MOST_SECONDS && bytes < MOST_BYTES;
                if is_refused && is_soon {
                    Ok(())
                } else {
                    Err(format!("{answer} ({seconds} s, {} MiB)", bytes >> 20))
                }
            }
            Err(Failure::Refused { code, message }) if code == BAD_MODEL => {
                let seconds = worker.used().0;
                most_seconds = most_seconds.max(seconds);
                let is_soon = seconds < MOST_SECONDS;
                if message.contains("template") && is_soon {
                    Ok(())
                } else {
                    Err(format!("{message} ({seconds} s)"))
                }
            }
            Err(failure) => Err(format!("{failure:?}")),
        };
        if let Err(how) = refused {
            wrong.push(format!("{bomb:.120}: {how:.500}"));
        }
    }
    // Shown with `--no-capture`.
    say(&format!("{} templates: {most_seconds:.3} s and {} MiB at most", bombs.len(), most_bytes >> 20));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Templates that are harmless until somebody says the word.
#[test]
fn a_message_that_sets_off_a_template_harms_nobody_else() {
    let model = Model::read(&whole_model());
    let bombs = [
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ 2 in ns.x }}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    ];
    for bomb in bombs {
        let template = format!(
            "{{% for m in messages %}}{{% if m.content == 'boom' %}}{bomb}{{% endif %}}<|im_start|>{{{{ m.role }}}}\n\
             {{{{ m.content }}}}<|im_end|>\n{{% endfor %}}<|im_start|>assistant\n"
        );
        let file = whole_copy(&model.with_template(&template), &model);
        let mut worker = Worker::start(&file.path);
        assert_eq!(worker.loaded(), Ok(()), "{}", worker.log());
        let (_, bytes) = worker.used();
        let ask = |content: &str, max_tokens: usize| {
            let message = format!(r#"[{{"role":"user","content":"{content}"}}]"#);
            let job = format!(r#"{{"operation":"infer","messages":{message},"max_tokens":{max_tokens}}}"#);
            let began = Instant::now();
            (worker.submit(job.as_bytes()), began.elapsed().as_secs_f64())
        };
        std::thread::scope(|scope| {
            let story = scope.spawn(|| ask("Tell me a story.", 200).0);
            for _ in 0..5 {
                let (answer, seconds) = ask("boom", 2);
                assert!(answer.contains(r#""code":"bad_model""#), "{answer}");
                // Its processor has a stream and other tests to serve besides.
                assert!(seconds < 3.0 * MOST_SECONDS, "{seconds} s");
            }
            let story = story.join().expect("a stream that ends");
            assert!(story.contains(r#""state":"succeeded""#), "{story}");
        });
        assert!(ask("hello", 2).0.contains(r#""state":"succeeded""#));
        assert!(worker.used().1 - bytes < MOST_BYTES, "{} MiB", (worker.used().1 - bytes) >> 20);
    }
}

/// What renders templates has little memory, whatever it is made to do.
#[test]
#[cfg(target_os = "linux")]
fn templates_are_rendered_where_there_is_little_memory() {
    let mut worker = Worker::start(&whole_model());
    assert_eq!(worker.loaded(), Ok(()), "{}", worker.log());
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", worker.pid())).expect("it runs");
    let [renderer] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{children}") };
    let limits = fs::read_to_string(format!("/proc/{renderer}/limits")).expect("it runs");
    let data = limits.lines().find_map(|line| line.strip_prefix("Max data size")).expect("a limit");
    let bytes: u64 =
        data.split_whitespace().next().and_then(|soft| soft.parse().ok()).expect("it is limited");
    assert!(bytes <= MOST_BYTES, "{bytes}");
    let status = fs::read_to_string(format!("/proc/{renderer}/status")).expect("it runs");
    assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
    drop(worker);
    let is_gone = || !Path::new(&format!("/proc/{renderer}")).exists();
    let began = Instant::now();
    while !is_gone() && began.elapsed().as_secs() < 10 {
        std::thread::yield_now();
    }
    assert!(is_gone(), "it ends with its worker");
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
            Err(Failure::Refused { code, message }) => {
                self.refused += 1;
                let (seconds, bytes) = worker.used();
                self.most_seconds = self.most_seconds.max(seconds);
                self.most_bytes = self.most_bytes.max(bytes);
                let text = format!("{damage}: {message} ({seconds} s, {} MiB)", bytes >> 20);
                // That is found when the tensors are mapped, which takes no memory of its own.
                let mapped = if message.contains("chat template") { file.len } else { 0 };
                if code != BAD_MODEL || seconds > MOST_SECONDS || bytes > MOST_BYTES + mapped {
                    self.wrong.push(format!("{text}, {code}"));
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

/// A copy that answers like the model itself.
fn whole_copy(header: &[u8], model: &Model) -> Damaged {
    let mut file = File::open(whole_model()).expect("the test model");
    let mut tensors = Vec::new();
    // They begin where the header ends, aligned.
    let aligned = |at: usize| at.next_multiple_of(32);
    file.seek(SeekFrom::Start(aligned(model.header.len()) as u64)).expect("it is long enough");
    file.read_to_end(&mut tensors).expect("the test model can be read");
    let mut whole = header.to_vec();
    whole.resize(aligned(header.len()), 0);
    whole.extend_from_slice(&tensors);
    let len = whole.len() as u64;
    copy(&whole, len)
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
        Err(Failure::Refused { code, .. }) => code,
        other => panic!("{}: {other:?}", path.display()),
    };
    assert_eq!(refused(&folder.path().join("missing.gguf")), "not_found");
    assert_eq!(refused(folder.path()), "io");
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, b"").expect("a file in the test's folder");
    assert_eq!(refused(&empty), "bad_model");
}
