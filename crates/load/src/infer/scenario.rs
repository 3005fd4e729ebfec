//! What is done to a server, and what is found out about it that way.

use std::pin::pin;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures_util::future::try_join_all;

use crate::infer::ask::{Answer, Asked, Server};
use crate::infer::peer::Room;
use crate::infer::prompts::{self, Manner};
use crate::infer::summary::{Measure, Wanted};
use crate::infer::{Model, SLOTS};
use crate::printer::say;
use crate::report::Failures;
use crate::stats::Samples;

/// A stream alone is measured over so many tokens, streams in company over fewer, as everybody does.
const ALONE_TOKENS: u32 = 256;
const COMPANY_TOKENS: u32 = 128;
/// In how many rounds the prompts with a common beginning are asked.
const COMMON_ROUNDS: usize = 2;
/// For the time to the first token, so many first tokens are looked at.
const FIRST_TRIES: usize = 3;
const FIRST_TOKENS: u32 = 4;
const TURN_TOKENS: u32 = 64;
/// The stream that runs while its neighbour's prompt is read is no longer, and has begun by then.
const STALL_TOKENS: u32 = 2048;
const STALL_AFTER: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One stream
    Decode,
    /// 4 and 8 streams of different prompts
    Company,
    /// 8 streams whose prompts have their first 400 tokens in common
    Common,
    /// The first token of an answer, alone
    First,
    /// The first token of a conversation's second answer
    Turn,
    /// One stream behind a prompt of 5,000 tokens
    Long,
    /// A file that is to be given back with one name changed, beside the peer as it comes: without drafts
    Edit,
    /// The same, beside the peer with its own drafts from the prompt
    EditDrafting,
    /// A stream whose neighbour's prompt has 5,000 tokens
    Stall,
    /// What queen and hive add for each token
    Hops,
}

/// A server, as it is asked by one principal and by another.
pub(crate) struct Contestant {
    pub(crate) server: Server,
    pub(crate) neighbour: Server,
}

impl Contestant {
    /// Has the model loaded and the memory touched, before anything is measured.
    pub(crate) async fn warm_up(&self, manner: Manner) -> Result<()> {
        company(&self.server, manner, 9000, 2).await.map(drop)
    }
}

impl Scenario {
    /// Whether both servers are measured, one against the other.
    pub(crate) fn is_compared(self) -> bool {
        self != Self::Hops
    }

    /// How the peer has to divide its context for this.
    pub(crate) fn room(self) -> Room {
        match self {
            Self::Edit | Self::Stall | Self::Long => Room::Shared,
            Self::EditDrafting => Room::Drafting,
            _ => Room::Divided,
        }
    }

    /// What [`Self::measure`] finds out, in this order.
    pub(crate) fn measures(self, model: Model) -> Vec<Measure> {
        use Wanted::{Anything, AtLeast, AtMost};
        let edit = match model {
            Model::Smollm2 => 1.3,
            Model::Gemma => 1.5,
        };
        match self {
            Self::Decode => vec![Measure::new("1 stream, decode tokens/s", AtLeast(0.97)).aim(1.0)],
            Self::Company => vec![
                Measure::new("4 streams, tokens/s in all", AtLeast(0.97)).aim(1.1),
                Measure::new("8 streams, tokens/s in all", AtLeast(0.97)).aim(1.1),
                Measure::new("8 streams, first token p50 ms", AtMost(0.8)),
            ],
            Self::Common => vec![Measure::new("8 streams, common beginning, tokens/s in all", AtLeast(1.3))],
            Self::First => vec![Measure::new("first token alone, cold, ms", AtMost(1.05))],
            Self::Turn => vec![Measure::new("first token of a second turn, ms", AtMost(1.05))],
            Self::Long => vec![
                Measure::new("prompt of 5,000 tokens, first token ms", Anything),
                Measure::new("1 stream behind a prompt of 5,000 tokens, decode tokens/s", Anything),
            ],
            Self::Edit => vec![
                Measure::new("edit of a file, the peer without drafts, decode tokens/s", AtLeast(edit)),
                Measure::new("edit of a file, the peer without drafts, % of the file given back", Anything),
            ],
            Self::EditDrafting => vec![
                Measure::new("edit of a file, the peer with drafts, decode tokens/s", Anything),
                Measure::new("edit of a file, the peer with drafts, % of the file given back", Anything),
            ],
            Self::Stall => vec![Measure::new("beside a prompt of 5,000 tokens, gap p99 ms", AtMost(1.0))],
            Self::Hops => Vec::new(),
        }
    }

    /// Does it once. Where that shows less than it should, `failures` are told.
    pub(crate) async fn measure(
        self,
        contestant: &Contestant,
        manner: Manner,
        pair: usize,
        name: &str,
        failures: &Failures,
    ) -> Result<Vec<f64>> {
        let server = &contestant.server;
        // No prompt is asked in two scenarios or pairs.
        let number = self as usize * 1000 + pair * 16;
        match self {
            Self::Decode => {
                let answer =
                    server.ask(&prompts::story(manner, number), ALONE_TOKENS).await?.finish().await?;
                note(name, std::slice::from_ref(&answer));
                Ok(vec![answer.decode_tokens_per_s()])
            }
            Self::Company => {
                let four = company(server, manner, number, 4).await?;
                let eight = company(server, manner, number + 4, SLOTS).await?;
                let mut first_ms = Samples::default();
                eight.iter().for_each(|answer| first_ms.add(answer.first_ms()));
                note(name, &eight);
                Ok(vec![total_tokens_per_s(&four), total_tokens_per_s(&eight), first_ms.quantile(0.5)])
            }
            Self::Common => {
                let mut answers = Vec::new();
                for round in 0..COMMON_ROUNDS {
                    let ask = |reader| async move {
                        let question = prompts::with_common_beginning(manner, number, round * SLOTS + reader);
                        server.ask(&question, COMPANY_TOKENS).await?.finish().await
                    };
                    answers.extend(try_join_all((0..SLOTS).map(ask)).await?);
                }
                note(name, &answers);
                Ok(vec![total_tokens_per_s(&answers)])
            }
            Self::First => {
                let mut first_ms = Samples::default();
                for index in 0..FIRST_TRIES {
                    let question = prompts::story(manner, number + index);
                    first_ms.add(server.ask(&question, FIRST_TOKENS).await?.finish().await?.first_ms());
                }
                Ok(vec![first_ms.quantile(0.5)])
            }
            Self::Turn => {
                let first = prompts::conversation(manner, number, None);
                let first = server.ask(&first, TURN_TOKENS).await?.finish().await?;
                let second = prompts::conversation(manner, number, Some(&first.text));
                let second = server.ask(&second, FIRST_TOKENS).await?.finish().await?;
                note(name, std::slice::from_ref(&second));
                Ok(vec![second.first_ms()])
            }
            Self::Long => {
                let question = prompts::story_behind_diary(manner, number);
                let answer = server.ask(&question, ALONE_TOKENS).await?.finish().await?;
                note(name, std::slice::from_ref(&answer));
                Ok(vec![answer.first_ms(), answer.decode_tokens_per_s()])
            }
            Self::Edit | Self::EditDrafting => {
                let answer = server
                    .ask(&prompts::edit(manner, number), prompts::edit_tokens(manner))
                    .await?
                    .finish()
                    .await?;
                note(name, std::slice::from_ref(&answer));
                // How well a model copies is no server's merit, but an answer that is no copy is easier, or harder, to
                // draft: both servers' share is told.
                let given_back = 100.0 * prompts::part_of_file(manner, number, &answer.text);
                Ok(vec![answer.decode_tokens_per_s(), given_back])
            }
            Self::Stall => stall(contestant, manner, number, name, failures).await,
            Self::Hops => bail!("hops are not compared"),
        }
    }
}

/// So many answers at once, to different prompts.
async fn company(server: &Server, manner: Manner, number: usize, streams: usize) -> Result<Vec<Answer>> {
    let ask = |index| async move {
        let question = prompts::story(manner, number + index);
        server.ask(&question, COMPANY_TOKENS).await?.finish().await
    };
    try_join_all((0..streams).map(ask)).await
}

/// Says how much was asked and answered, for whoever doubts that both servers did the same.
fn note(name: &str, answers: &[Answer]) {
    let span = |count: fn(&Answer) -> u64| {
        let counts = || answers.iter().map(count);
        format!("{}–{}", counts().min().unwrap_or_default(), counts().max().unwrap_or_default())
    };
    let (prompts, answers) = (span(|answer| answer.prompt_tokens), span(|answer| answer.tokens));
    say(&format!("{name}: prompts of {prompts} tokens, answers of {answers}"));
}

/// The tokens of all answers over the time from the first question to the last end.
#[expect(clippy::cast_precision_loss, reason = "some thousand tokens")]
fn total_tokens_per_s(answers: &[Answer]) -> f64 {
    let tokens: u64 = answers.iter().map(|answer| answer.tokens).sum();
    let began = answers.iter().map(|answer| answer.asked).min();
    let ended = answers.iter().map(|answer| answer.ended).max();
    let took = began.zip(ended).map_or(0.0, |(began, ended)| (ended - began).as_secs_f64());
    tokens as f64 / took
}

/// How long a stream is silent while the prompt of its neighbour is read.
async fn stall(
    contestant: &Contestant,
    manner: Manner,
    number: usize,
    name: &str,
    failures: &Failures,
) -> Result<Vec<f64>> {
    let mut running = contestant.server.ask(&prompts::endless(manner, number), STALL_TOKENS).await?;
    for _ in 0..STALL_AFTER {
        if !running.next().await? {
            bail!("the answer that should go on has {} tokens", running.answer().tokens);
        }
    }
    let from = Instant::now();
    let long = prompts::long(manner, number);
    let mut neighbour = pin!(async {
        let mut asked = contestant.neighbour.ask(&long, FIRST_TOKENS).await?;
        asked.next().await?;
        anyhow::Ok((Instant::now(), asked))
    });
    let mut is_running = true;
    let (to, neighbour) = loop {
        tokio::select! {
            begun = &mut neighbour => break begun.context("the neighbour")?,
            more = running.next(), if is_running => is_running = more?,
        }
    };
    if is_running {
        // The silence that there is at the moment counts as well.
        is_running = running.next().await?;
    }
    let neighbour = Asked::finish(neighbour).await.context("the neighbour")?;
    let answer = running.stop().await?;
    if !is_running {
        failures.add(format!("Stall: {name} had its neighbour wait until the stream ended"));
    }
    let mut gaps_ms = Samples::default();
    answer.gaps_ms(from, to).for_each(|gap| gaps_ms.add(gap));
    say(&format!(
        "{name}: a prompt of {} tokens was read within {:.0} ms, in which a stream gave {} tokens",
        neighbour.prompt_tokens,
        (to - from).as_secs_f64() * 1e3,
        gaps_ms.count()
    ));
    Ok(vec![gaps_ms.quantile(0.99)])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_streams_give_in_all_counts_from_the_first_question_to_the_last_end() {
        let began = Instant::now();
        let answer = |from: u64, to: u64| Answer {
            asked: began + Duration::from_secs(from),
            ended: began + Duration::from_secs(to),
            arrivals: Vec::new(),
            text: String::new(),
            prompt_tokens: 70,
            tokens: 100,
            timings: None,
        };
        assert_eq!(total_tokens_per_s(&[answer(0, 2), answer(1, 4)]), 50.0);
    }

    #[test]
    fn every_scenario_that_is_compared_measures_something() {
        for scenario in Scenario::value_variants() {
            for model in Model::value_variants() {
                assert_eq!(scenario.measures(*model).is_empty(), !scenario.is_compared(), "{scenario:?}");
            }
        }
    }
}
