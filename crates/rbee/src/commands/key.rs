//! `rbee key …`: the keys of those who share the queen.

use anyhow::Result;
use rbee_narration::printable;
use rbee_protocol::{CreateKey, KeyInfo, KeyRole};

use crate::cli::{Key, Output, Role};
use crate::commands::question::now_ms;
use crate::connection::Connection;
use crate::human::ago;
use crate::printer::Printer;
use crate::table::{Look, Table};

/// Runs a `rbee key` command.
pub(crate) async fn run(command: Key, printer: &mut Printer) -> Result<u8> {
    let client = Connection::open(printer).await?.client;
    match command {
        Key::Create { name, role } => {
            let role = match role {
                Role::User => KeyRole::User,
                Role::Operator => KeyRole::Operator,
            };
            let key = client.create_key(&CreateKey { name, role }).await?;
            let shown = match printer.output() {
                Output::Text => printer.page(&format!("{}\n", printable(&key.key))),
                Output::Json | Output::Ndjson => printer.json(&key),
            };
            if let Err(failure) = shown {
                // Nobody has seen it, and nobody else can be shown it.
                if client.revoke_key(&key.name).await.is_err() {
                    printer.warning(&format!("take it back with `rbee key revoke {}`", key.name))?;
                }
                return Err(failure.into());
            }
            printer.note(&format!("This is the only time that the key of {} is shown.", key.name))?;
        }
        Key::List => {
            let list = client.keys().await?;
            match printer.output() {
                Output::Text => printer.page(&table(&list.keys, printer.look()))?,
                Output::Json => printer.json(&list)?,
                Output::Ndjson => list.keys.iter().try_for_each(|key| printer.json(key))?,
            }
        }
        Key::Revoke { name } => {
            let key = client.revoke_key(&name).await?;
            match printer.output() {
                Output::Text => printer.page(&format!("the key of {name} is revoked\n"))?,
                Output::Json | Output::Ndjson => printer.json(&key)?,
            }
        }
    }
    Ok(0)
}

fn table(keys: &[KeyInfo], look: Look) -> String {
    let now_ms = now_ms();
    let mut table = Table::new(["NAME", "ROLE", "CREATED"]).keep_whole(0);
    for key in keys {
        table.row([key.name.to_string(), key.role.name().to_owned(), ago(now_ms, key.created_at_ms)]);
    }
    table.render(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_with_their_roles() {
        let key = |name: &str, role| KeyInfo {
            name: name.parse().expect("a name"),
            role,
            created_at_ms: now_ms() - 65_000,
        };
        let keys = [key("ada", KeyRole::User), key("operator", KeyRole::Operator)];
        assert_eq!(
            table(&keys, Look { width: None, bold: false }),
            "NAME      ROLE      CREATED\n\
             ada       user      1 min ago\n\
             operator  operator  1 min ago\n"
        );
    }
}
