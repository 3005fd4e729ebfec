use std::fs;

use crate::document::run_blocks;
use crate::hub::Hub;
use crate::support::{Home, MODEL, model_file};

const DOCUMENT: &str = include_str!("../../../../docs/walk.md");

#[test]
fn a_newcomer_walks_from_nothing_to_an_editor_and_leaves_nothing_behind() {
    let hub = Hub::start();
    let model = fs::read(model_file()).expect("the test model");
    // What it is called there is not what it is: that one is too large for a test.
    hub.repository("Qwen/Qwen3-0.6B-GGUF", &[("Qwen3-0.6B-Q8_0.gguf", &model)]);
    let mut home = Home::empty();
    home.set("HF_ENDPOINT", hub.url());
    let user = home.path("home");
    // The one that comes with the first answer, without the package index.
    let models = user.join(".local/share/rbee/models");
    fs::create_dir_all(&models).expect("a folder in the test's home");
    fs::write(models.join(format!("{MODEL}.gguf")), &model).expect("room for the model");
    let own = home.command([""; 0]);
    run_blocks(DOCUMENT, &home.path("work"), |command| {
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        for name in ["RBEE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        command.env("TMPDIR", home.path(""));
    });
}
