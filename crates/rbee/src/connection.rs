//! The way to the queen.

use std::time::Duration;

use rbee_home::{Home, QueenAddress, queen_or_start, read_key};
use rbee_narration::{Log, SystemNarrator};
use rbee_protocol::{Client, ClientError};
use tokio::time::{Instant, sleep};

use crate::error::Failure;
use crate::printer::Printer;

/// A queen that does not answer is looked for again during this time, with a pause before each try.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
const LOOK_DELAY: Duration = Duration::from_millis(20);

/// A queen that answers us.
pub(crate) struct Connection {
    home: Home,
    /// Speaks to it.
    pub(crate) client: Client,
}

impl Connection {
    /// Finds this home's queen, or starts it.
    pub(crate) async fn open(printer: &mut Printer) -> Result<Self, Failure> {
        let home = Home::from_env()?;
        let client = connect(&home, printer).await?;
        Ok(Self { home, client })
    }

    /// Finds or starts the queen again, after the one we had has gone.
    pub(crate) async fn reopen(&mut self, printer: &mut Printer) -> Result<(), Failure> {
        self.client = connect(&self.home, printer).await?;
        Ok(())
    }
}

async fn connect(home: &Home, printer: &mut Printer) -> Result<Client, Failure> {
    let mut shown = Ok(());
    let address = answering_queen(home, || {
        let narrator = SystemNarrator::new("rbee", Log::to_stderr());
        let line = narrator.action("queen_start").human("Starting the queen").into_line();
        shown = printer.narrate(&line);
    })
    .await?;
    shown?;
    if let Some(warning) = version_warning(&address.version) {
        printer.warning(&warning)?;
    }
    let key = read_key(&home.operator_key_file())?;
    Ok(Client::tcp(&address.url, &key)?)
}

/// The address of this home's queen, which answers there. Where none runs one is started, and `starting` is called
/// before.
pub(crate) async fn answering_queen(
    home: &Home,
    mut starting: impl FnMut(),
) -> Result<QueenAddress, Failure> {
    let give_up = Instant::now() + LOOK_TIMEOUT;
    loop {
        let address = queen_or_start(home, &mut starting).await?;
        match Client::tcp(&address.url, "")?.health().await {
            // The process of a queen that was killed has its lock for a moment longer, and nothing tells when it is gone.
            Err(ClientError::Unreachable { .. }) if Instant::now() < give_up => sleep(LOOK_DELAY).await,
            Err(error @ ClientError::Unreachable { .. }) => return Err(error.into()),
            // Whatever it answers otherwise, it is there.
            Ok(_) | Err(_) => return Ok(address),
        }
    }
}

fn version_warning(queen: &str) -> Option<String> {
    let ours = env!("CARGO_PKG_VERSION");
    (queen != ours).then(|| {
        format!("the queen is of version {queen}, this command line of {ours}: `rbee queen stop`, and the next command starts the new queen")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_said_with_the_way_out() {
        assert_eq!(version_warning(env!("CARGO_PKG_VERSION")), None);
        let warning = version_warning("0.0.1").expect("another version");
        assert!(warning.contains("0.0.1") && warning.contains("`rbee queen stop`"), "{warning}");
    }
}
