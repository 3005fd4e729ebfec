use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use rbee_protocol::{Client, ClientError, End, Follow, HiveId, JobEvent, JobId, SubmitRequest};

use crate::log::JobWriter;
use crate::store::Placement;

/// What a next hop sent before it went away is in this machine's buffers already: once its stream has
/// been silent for so long, there is no more of it.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(250);

/// How a job at the next hop ended.
#[derive(Debug)]
pub enum Relayed<G> {
    /// With this end event.
    Ended(End),
    /// The next hop refused it, or lost it.
    Failed(ClientError),
    /// The next hop itself went away, as the caller was told.
    Gone(G),
    /// The next hop did not confirm a cancellation in time.
    Unconfirmed,
}

/// Which job of the next hop it is.
#[derive(Debug)]
pub enum Child<'a> {
    /// A new one. Where it is taken up again after a crash, its hive and its slot there are noted.
    New(Box<SubmitRequest>, Option<(&'a HiveId, &'a str)>),
    /// The one that already does it.
    Existing(JobId),
}

/// Has `client`'s daemon do the work for `job`, and copies every event but the end into the job's
/// log, each once. When the job is cancelled the cancellation is passed on, and its confirmation waited for as
/// long as `confirm_within`, which counts from then also where the next hop has not even answered that it has the job.
///
/// `gone` returns when the next hop has ended; what it had sent until then is copied all the same.
pub async fn relay<G>(
    job: &JobWriter,
    client: &Client,
    child: Child<'_>,
    confirm_within: Duration,
    gone: impl Future<Output = G>,
) -> Relayed<G> {
    let mut gone = pin!(gone);
    let mut overdue = pin!(async {
        job.cancelled().await;
        // A deadline, raced against the confirmation.
        tokio::time::sleep(confirm_within).await;
    });
    let child = match child {
        Child::Existing(child) => child,
        Child::New(request, noted) => {
            let child = tokio::select! {
                biased;
                submitted = client.submit(&request) => match submitted {
                    Ok(submitted) => submitted.job_id,
                    Err(error) => return Relayed::Failed(error),
                },
                why = &mut gone => return Relayed::Gone(why),
                () = &mut overdue => return Relayed::Unconfirmed,
            };
            if let Some((hive, slot)) = noted {
                job.place(Placement { hive: hive.clone(), child: child.clone(), slot: slot.to_owned() });
            }
            child
        }
    };
    // Never dropped half-way: a stream that is asked for anew from a next hop that has gone is lost.
    let mut copying = pin!(copy(job, client.follow(&child, job.child_seq())));
    let mut cancelling = pin!(async {
        job.cancelled().await;
        // Whether the request arrives shows in the stream's end, or in there being none.
        let _ = tokio::time::timeout(confirm_within, client.cancel(&child)).await;
    });
    let mut cancel_sent = false;
    let why = loop {
        tokio::select! {
            biased;
            end = &mut copying => return end.map_or_else(Relayed::Failed, Relayed::Ended),
            why = &mut gone => break why,
            () = &mut cancelling, if !cancel_sent => cancel_sent = true,
            () = &mut overdue => return Relayed::Unconfirmed,
        }
    };
    loop {
        let seq = job.seq();
        match tokio::time::timeout(LAST_WORDS_TIMEOUT, &mut copying).await {
            Ok(Ok(end)) => return Relayed::Ended(end),
            Err(_) if job.seq() > seq => {}
            Ok(Err(_)) | Err(_) => return Relayed::Gone(why),
        }
    }
}

/// Copies all events but the end, which it returns.
async fn copy(job: &JobWriter, mut follow: Follow) -> Result<End, ClientError> {
    while let Some(followed) = follow.next().await? {
        match followed.event {
            JobEvent::End(end) => return Ok(*end),
            // A job that has ended, by its quota, has been cancelled with that.
            event => drop(job.append_from_child(&event, followed.seq)),
        }
        job.room().await;
    }
    unreachable!("a stream that is followed ends with an end event")
}
