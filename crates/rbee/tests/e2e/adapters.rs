//! Models that an operator has given an adapter, or a model that drafts.

use std::fs;
use std::path::Path;

use crate::support::{Home, model_file};

/// A LoRA of rank 1 for the test model, in GGUF: it adds one direction to what the last layer says.
fn write_adapter(path: &Path) {
    const EMBEDDING: usize = 576;
    const FORWARD: usize = 1536;
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend(3_u64.to_le_bytes());
    for (key, value) in
        [("general.architecture", "llama"), ("general.type", "adapter"), ("adapter.type", "lora")]
    {
        bytes.extend(text(key));
        bytes.extend(8_u32.to_le_bytes());
        bytes.extend(text(value));
    }
    let mut offset = 0_u64;
    for (part, extents) in [("lora_a", [FORWARD, 1]), ("lora_b", [1, EMBEDDING])] {
        bytes.extend(text(&format!("blk.29.ffn_down.weight.{part}")));
        bytes.extend(2_u32.to_le_bytes());
        extents.iter().for_each(|extent| bytes.extend((*extent as u64).to_le_bytes()));
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += (extents[0] * extents[1] * 4) as u64;
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    // Numbers of both signs, without a pattern.
    let values = (0..FORWARD + EMBEDDING)
        .map(|index| ((index * index * 7919 + index * 104_729) % 997) as f32 / 498.0 - 1.0);
    bytes.extend(values.flat_map(f32::to_le_bytes));
    fs::write(path, bytes).expect("the test's home");
}

#[test]
fn a_model_with_an_adapter_or_a_draft_model_has_a_name_of_its_own() {
    let home = Home::with_model();
    let adapter = home.path("adapter.gguf");
    write_adapter(&adapter);
    let config = format!(
        "[models.tuned]\nadapter = {adapter:?}\nscale = 1000.0\n\
         [models.untouched]\nadapter = {adapter:?}\nscale = 0.0\n\
         [models.wrong]\nadapter = {:?}\n\
         [models.gone]\nadapter = {:?}\n\
         [models.quick]\ndraft = {:?}\n\
         [models.nothing]\ndraft = {:?}\n",
        model_file(),
        home.path("missing.gguf"),
        model_file(),
        home.path("missing.gguf"),
    );
    fs::create_dir_all(home.path("config")).expect("the test's home");
    fs::write(home.path("config/config.toml"), config).expect("the test's home");

    let hello =
        |model: &str| home.run(["infer", "-m", model, "hello", "--temperature", "0", "--max-tokens", "12"]);
    let plain = home.run(["infer", "hello", "--temperature", "0", "--max-tokens", "12"]);
    assert_eq!(plain.code, Some(0), "{}", plain.stderr);
    let (tuned, untouched) = (hello("tuned"), hello("untouched"));
    assert_eq!((tuned.code, untouched.code), (Some(0), Some(0)), "{} {}", tuned.stderr, untouched.stderr);
    assert_eq!(untouched.stdout, plain.stdout);
    assert_ne!(tuned.stdout, plain.stdout);

    let wrong = hello("wrong");
    assert_eq!(wrong.code, Some(65), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("no LoRA adapter"), "{}", wrong.stderr);
    let gone = hello("gone");
    assert_eq!(gone.code, Some(66), "{}", gone.stderr);
    assert!(gone.stderr.contains("[models.gone]"), "{}", gone.stderr);
    let quick = hello("quick");
    assert_eq!((quick.code, quick.stdout), (Some(0), plain.stdout), "{}", quick.stderr);
    let nothing = hello("nothing");
    assert_eq!(nothing.code, Some(66), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("correct `draft` under `[models.nothing]`"), "{}", nothing.stderr);
    let list = home.run(["model", "list"]).stdout;
    assert!(["tuned", "wrong", "quick"].iter().all(|name| list.contains(name)), "{list}");
}

#[test]
fn what_is_set_up_wrongly_for_a_model_is_said_with_its_name() {
    for (section, expected) in [
        ("[models.tuned]\nadapter = \"relative.gguf\"", "models.tuned"),
        ("[models.tuned]\nadapter = \"/a.gguf\"\nbase = \"./b.gguf\"", "`base`"),
        ("[models.\"a/b\"]\nadapter = \"/a.gguf\"", "models.a/b"),
        ("[models.tuned]\nscale = 1", "neither an `adapter` nor a `draft`"),
        ("[models.tuned]\ndraft = \"relative.gguf\"", "`draft`"),
        ("[models.tuned]\nadapter = \"/a.gguf\"\nscale = nan", "models.tuned"),
    ] {
        let home = Home::with_model();
        fs::create_dir_all(home.path("config")).expect("the test's home");
        fs::write(home.path("config/config.toml"), section).expect("the test's home");
        let ran = home.run(["model", "list"]);
        assert!(ran.code != Some(0) && ran.stderr.contains(expected), "{section}: {}", ran.stderr);
    }
}
