//! Several requests at once, with a real, small model.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::engine::LoadOptions;
use crate::engine::tests::{TestEngine, greedy, long_text, options, request};
use crate::request::{GenerateRequest, Message, Role};
use crate::test_models;

/// Where the two best logits of a request alone lie closer than this, company may decide between
/// them. llama.cpp sums 16-bit numbers in the order of the cells and in tiles that depend on the batch,
/// and quantised weights enlarge what that rounds differently: over 900 tokens of text read in chunks of
/// 24, 64 and 100, the distance of this model's two best logits changed by 0.09 in the median and by 0.6
/// at most, and tokens changed places where it had been 0.45 at most. The rest is for what adds up over an
/// answer.
const EPSILON: f32 = 1.0;

/// Requests in flight: what each is called, its text so far and how it ended.
#[derive(Default)]
struct Company {
    texts: HashMap<SlotId, String>,
    tokens: HashMap<SlotId, Vec<LlamaToken>>,
    prefilled: HashMap<SlotId, u32>,
    ended: HashMap<SlotId, Generated>,
}

impl Company {
    fn begin(&mut self, engine: &mut TestEngine, request: &GenerateRequest) -> Option<SlotId> {
        let counted = GenerateRequest { logprobs: Some(0), ..request.clone() };
        let prompt = engine.engine.prompter().prepare(&counted).expect("the request fits");
        match engine.engine.begin(prompt).expect("the system has random numbers") {
            Begin::Begun(slot) => Some(slot),
            Begin::Full(_) => None,
        }
    }

    fn step(&mut self, engine: &mut TestEngine, cancelled: &[SlotId]) {
        let Self { texts, tokens, prefilled, .. } = self;
        let ended = engine.engine.step(&|slot| cancelled.contains(&slot), &mut |slot, event| match event {
            GenerateEvent::Token { text, logprobs, .. } => {
                texts.entry(slot).or_default().push_str(text);
                let ids = logprobs.iter().map(|token| LlamaToken(token.chosen.id as i32));
                tokens.entry(slot).or_default().extend(ids);
            }
            GenerateEvent::Prefill { done, .. } => drop(prefilled.insert(slot, done)),
            GenerateEvent::ToolCall { .. } => unreachable!("there are no tools"),
        });
        for Ended { slot, outcome } in ended {
            self.ended.insert(slot, outcome.expect("it is answered"));
        }
    }

    fn finish(&mut self, engine: &mut TestEngine) {
        while engine.engine.busy() > 0 {
            self.step(engine, &[]);
        }
    }

    /// How many tokens of the answer there are.
    fn written(&self, slot: SlotId) -> usize {
        self.tokens.get(&slot).map_or(0, Vec::len)
    }

    fn text(&self, slot: SlotId) -> &str {
        self.texts.get(&slot).map_or("", String::as_str)
    }
}

fn of(scope: &str, request: GenerateRequest) -> GenerateRequest {
    GenerateRequest { scope: Some(scope.to_owned()), ..request }
}

fn short(tokens: u32, request: GenerateRequest) -> GenerateRequest {
    GenerateRequest { max_tokens: Some(tokens), ..request }
}

/// Runs requests one after the other, all of them together, and returns what each had cached.
fn cached(engine: &mut TestEngine, requests: &[GenerateRequest]) -> Vec<u32> {
    requests.iter().map(|request| engine.run(request).0.cached_tokens).collect()
}

/// How far the two best logits behind `tokens` are apart.
fn margin(engine: &mut TestEngine, mut prompt: Prompt, tokens: &[LlamaToken]) -> f32 {
    prompt.tokens.extend(tokens);
    prompt.scope = None;
    prompt.max_tokens = Some(1);
    engine.engine.generate(prompt, &|| false, &mut |_| {}).expect("it is answered");
    let last = engine.engine.batch.n_tokens() - 1;
    let mut logits = engine.engine.context.get_logits_ith(last).to_vec();
    logits.sort_unstable_by(|one, other| other.total_cmp(one));
    logits[0] - logits[1]
}

/// How far the two best were apart where an answer parts from the one that a request gets alone; nothing where it does not.
fn parted(
    engine: &mut TestEngine,
    request: &GenerateRequest,
    answer: &[LlamaToken],
    alone: &[LlamaToken],
) -> f32 {
    if answer == alone {
        return 0.0;
    }
    let common = common_prefix(answer, alone);
    let prompt = engine.engine.prompter().prepare(request).expect("it fits");
    margin(engine, prompt, &alone[..common])
}

#[test]
fn in_company_each_gets_the_answer_that_it_gets_alone() {
    const TEXTS: [&str; 6] = [
        "Tell me a story about a bee.",
        "What is the capital of France, and why?",
        "Repeat this list: one, two, three, four, five, six, seven, one, two, three",
        "Write a poem.",
        "Explain how rain forms, step by step.",
        "List five fruits.",
    ];
    let engine = RefCell::new(TestEngine::load());
    let alone = RefCell::new(HashMap::<(usize, usize), (String, Vec<LlamaToken>)>::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    // Each: which text, how many words of padding, whose, and after how many steps it comes.
    let requests = proptest::collection::vec((0..TEXTS.len(), 0..3_usize, 0..2_usize, 0..12_usize), 2..10);
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&requests, |requests| {
        if Instant::now() > deadline {
            return Ok(());
        }
        let (mut engine, mut alone) = (engine.borrow_mut(), alone.borrow_mut());
        let request = |text: usize, padding: usize| {
            short(24, greedy(&format!("{}{}", long_text(padding * 40), TEXTS[text])))
        };
        for &(text, padding, ..) in &requests {
            alone.entry((text, padding)).or_insert_with(|| {
                let mut company = Company::default();
                let slot = company.begin(&mut engine, &request(text, padding)).expect("a slot is free");
                company.finish(&mut engine);
                (company.text(slot).to_owned(), company.tokens.remove(&slot).unwrap_or_default())
            });
        }
        let mut company = Company::default();
        let mut begun = Vec::new();
        for &(text, padding, scope, steps) in &requests {
            let scoped = of(&scope.to_string(), request(text, padding));
            let slot = loop {
                match company.begin(&mut engine, &scoped) {
                    Some(slot) => break slot,
                    None => company.step(&mut engine, &[]),
                }
            };
            begun.push((slot, text, padding));
            for _ in 0..steps {
                company.step(&mut engine, &[]);
            }
        }
        company.finish(&mut engine);
        for (slot, text, padding) in begun {
            let (solo, solo_tokens) = &alone[&(text, padding)];
            let tokens = company.tokens.remove(&slot).unwrap_or_default();
            let margin = parted(&mut engine, &request(text, padding), &tokens, solo_tokens);
            assert!(
                margin <= EPSILON,
                "{:?} instead of {solo:?}, though the best two are {margin} apart",
                company.text(slot)
            );
        }
        Ok(())
    });
    result.expect("no answer differs for another reason");
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let mut engine = TestEngine::load();
    let mut request = of("a", short(24, greedy(&format!("{} What is a bee?", long_text(60)))));
    let (first, pieces) = engine.run(&request);
    assert_eq!(first.cached_tokens, 0);
    let say = |role, content: String| Message::new(role, content);
    request.messages.push(say(Role::Assistant, pieces.concat()));
    request.messages.push(say(Role::User, "And a wasp?".to_owned()));
    let next = GenerateRequest { messages: request.messages.clone(), ..request.clone() };
    let (second, _) = engine.run(&next);
    // What was generated is the same when read back, but for its last token, which is never computed.
    assert!(
        second.cached_tokens + 3 >= first.prompt_tokens + first.completion_tokens,
        "{first:?} {second:?}"
    );
    assert!(second.cached_tokens < second.prompt_tokens);
}

#[test]
fn what_was_saved_is_used_again() {
    let mut engine = TestEngine::load();
    let asked = of("a", short(8, greedy(&long_text(100))));
    let (first, text) = engine.run(&asked);
    engine.engine.rest();
    assert!(engine.engine.slots.iter().all(|slot| slot.cells.is_empty()));
    let (again, same) = engine.run(&asked);
    assert_eq!(again.cached_tokens, first.prompt_tokens - 1);
    assert_eq!(text, same);
}

#[test]
fn nothing_is_shared_across_scopes() {
    let mut engine = TestEngine::load();
    let canary = format!("{} The password is heliotrope.", long_text(80));
    let ask = |scope: Option<&str>| GenerateRequest {
        scope: scope.map(str::to_owned),
        ..short(4, greedy(&canary))
    };
    let found = cached(&mut engine, &[ask(Some("a")), ask(Some("b")), ask(None), ask(None)]);
    assert_eq!(found, [0, 0, 0, 0]);
    engine.engine.rest();
    assert_eq!(cached(&mut engine, &[ask(Some("c")), ask(None)]), [0, 0]);
    assert!(cached(&mut engine, &[ask(Some("b"))])[0] > 80);

    // At the same time, too.
    let mut company = Company::default();
    let slots: Vec<SlotId> = ["d", "e"]
        .iter()
        .map(|scope| company.begin(&mut engine, &ask(Some(scope))).expect("a slot is free"))
        .collect();
    company.finish(&mut engine);
    assert!(slots.iter().all(|slot| company.ended[slot].cached_tokens == 0));
}

#[test]
fn a_common_beginning_is_computed_once() {
    let mut engine = TestEngine::load();
    let system = long_text(200);
    let ask = |question: &str| {
        let mut request = of("a", short(8, greedy(question)));
        request.messages.insert(0, Message::new(Role::System, system.clone()));
        request
    };
    let questions = ["What is a bee?", "Name a colour.", "Count to three.", "Say hello."];
    let mut company = Company::default();
    let slots: Vec<SlotId> = questions
        .iter()
        .map(|question| company.begin(&mut engine, &ask(question)).expect("a slot is free"))
        .collect();
    company.finish(&mut engine);
    let cached: Vec<u32> = slots.iter().map(|slot| company.ended[slot].cached_tokens).collect();
    assert_eq!(cached[0], 0);
    assert!(cached[1..].iter().all(|&cached| cached > 200), "{cached:?}");
    for (slot, question) in slots.iter().zip(questions) {
        let alone = GenerateRequest { scope: None, ..ask(question) };
        assert_eq!(engine.run(&alone).1.concat(), company.text(*slot), "{question}");
    }
}

#[test]
fn a_beginning_is_computed_by_the_next_when_its_first_is_cancelled() {
    let mut engine = TestEngine::load();
    let ask = of("a", short(4, greedy(&long_text(300))));
    let mut company = Company::default();
    let first = company.begin(&mut engine, &ask).expect("a slot is free");
    let second = company.begin(&mut engine, &ask).expect("a slot is free");
    company.step(&mut engine, &[]);
    company.step(&mut engine, &[first]);
    company.finish(&mut engine);
    assert_eq!(company.ended[&first].finish_reason, FinishReason::Cancelled);
    assert_ne!(company.ended[&second].finish_reason, FinishReason::Cancelled);
    // It goes on from what the first had got to.
    assert!((1..300).contains(&company.ended[&second].cached_tokens));
}

#[test]
fn a_cancel_frees_the_slot_in_every_phase() {
    let mut engine = TestEngine::load();
    let all = engine.engine.cells.free();
    let neighbour = short(40, greedy("Tell me a story."));
    for steps in [0, 1, 3, 12] {
        let mut company = Company::default();
        let kept = company.begin(&mut engine, &neighbour).expect("a slot is free");
        let gone = company
            .begin(&mut engine, &greedy(&format!("{}Tell me a story.", long_text(120))))
            .expect("a slot is free");
        for _ in 0..steps {
            company.step(&mut engine, &[]);
        }
        company.step(&mut engine, &[gone]);
        assert_eq!(company.ended[&gone].finish_reason, FinishReason::Cancelled);
        assert_eq!(engine.engine.busy(), 1);
        company.finish(&mut engine);
        assert_eq!(company.ended[&kept].completion_tokens, 40);
        assert_eq!(engine.engine.cells.free(), all);
    }
}

#[test]
fn when_all_slots_are_taken_the_next_waits() {
    let mut engine = TestEngine::load_with(LoadOptions { slots: Some(2), ..options() });
    let ask = short(4, greedy("hello"));
    let mut company = Company::default();
    for _ in 0..2 {
        company.begin(&mut engine, &ask).expect("a slot is free");
    }
    assert_eq!(company.begin(&mut engine, &ask), None);
    company.finish(&mut engine);
    company.begin(&mut engine, &ask).expect("a slot is free again");
    company.finish(&mut engine);
}

#[test]
fn answers_that_outgrow_the_context_together_are_all_finished() {
    let mut engine = TestEngine::load_with(LoadOptions { slots: Some(3), ..options() });
    // As if there were no more memory than for one and a half.
    let mut taken = Vec::new();
    let spare = engine.engine.cells.free() - 300;
    engine.engine.cells.take(spare, &mut taken);
    let ask = |scope: &str| of(scope, short(150, request("Tell me a long story.", 1.0)));
    let mut company = Company::default();
    let slots: Vec<SlotId> =
        ["a", "b"].iter().map(|scope| company.begin(&mut engine, &ask(scope)).expect("it fits")).collect();
    company.finish(&mut engine);
    for slot in slots {
        let Generated { finish_reason, completion_tokens, .. } = company.ended[&slot];
        assert!(finish_reason == FinishReason::Stop || completion_tokens == 150);
    }
}

#[test]
fn a_prompt_that_had_to_give_its_cells_away_reads_on_in_its_scope() {
    let mut engine = TestEngine::load_with(LoadOptions { slots: Some(3), saved_bytes: Some(0), ..options() });
    let all = engine.engine.cells.free();
    let common = long_text(80);
    let ask = |scope: &str, text: &str, tokens| of(scope, short(tokens, request(text, 1.0)));
    let first = ask("a", &format!("{common} Tell me a story."), 10);
    let growing = ask("b", "Tell me a long story.", 60);
    let second = ask("a", &format!("{common} Tell me a story. {}", long_text(80)), 10);
    let prompt = engine.engine.prompter().prepare(&second).expect("it fits");
    let needed = prompt.token_count() as usize + 12;
    for more in [0, 10, 20, 30] {
        let mut company = Company::default();
        for request in [&first, &growing] {
            company.begin(&mut engine, request).expect("it fits");
            for _ in 0..3 {
                company.step(&mut engine, &[]);
            }
        }
        company.begin(&mut engine, &second).expect("it fits");
        // As if there were just memory enough for it alone.
        let mut taken = Vec::new();
        engine.engine.cells.take(all - needed - more, &mut taken);
        for _ in 0..1000 {
            company.step(&mut engine, &[]);
            if engine.engine.busy() == 0 {
                break;
            }
        }
        assert_eq!(company.ended.len(), 3, "{more}");
        for generated in company.ended.values() {
            assert!(generated.cached_tokens < generated.prompt_tokens, "{more}: {generated:?}");
        }
        engine.engine.cells.cut(&mut taken, 0);
        engine.engine.rest();
        assert_eq!(engine.engine.cells.free(), all, "{more}");
    }
}

#[test]
fn a_prompt_that_nobody_wants_any_more_is_not_read_to_the_end_of_a_step() {
    let mut engine = TestEngine::load();
    let prompt = engine.engine.prompter().prepare(&greedy(&long_text(300))).expect("it fits");
    let Begin::Begun(_) = engine.engine.begin(prompt).expect("the system has random numbers") else {
        panic!("a slot is free")
    };
    // The first two times it is asked before anything is computed.
    let asked = Cell::new(0);
    let cancelled = |_| asked.replace(asked.get() + 1) > 20;
    let mut has_read = false;
    let ended = engine.engine.step(&cancelled, &mut |_, _| has_read = true);
    assert!(ended.is_empty() && !has_read && (20..40).contains(&asked.get()), "asked {} times", asked.get());
    let ended = engine.engine.step(&cancelled, &mut |_, _| has_read = true);
    assert_eq!(ended[0].outcome.as_ref().expect("it is no error").finish_reason, FinishReason::Cancelled);
    assert!(!has_read);
    engine.check_hello();
}

/// An answer that repeats what stands in the prompt.
fn repetition() -> GenerateRequest {
    let say = |role, content: &str| Message::new(role, content);
    let list = "1. The bee makes honey.\n2. The ant carries leaves.\n3. The wasp builds paper.\n4. The moth flies at \
                night.\n5. The fly is quick.";
    let mut ask = short(80, greedy("Write a list of five insects and what each of them does."));
    ask.messages.push(say(Role::Assistant, list));
    ask.messages.push(say(Role::User, "Write the same list again."));
    ask
}

#[test]
fn drafts_do_not_change_a_greedy_answer_and_save_steps() {
    let mut engine = TestEngine::load();
    let ask = repetition();
    let mut run = |drafts: bool| {
        engine.engine.can_cut = drafts;
        let mut company = Company::default();
        let slot = company.begin(&mut engine, &ask).expect("a slot is free");
        let mut steps = 0;
        while engine.engine.busy() > 0 {
            company.step(&mut engine, &[]);
            steps += 1;
        }
        (company.text(slot).to_owned(), company.ended[&slot].completion_tokens, steps)
    };
    let (text, tokens, steps) = run(false);
    let (same, same_tokens, fewer) = run(true);
    assert_eq!((&same, same_tokens), (&text, tokens));
    assert!(fewer * 2 < steps, "{fewer} steps instead of {steps} for {text:?}");
}

/// The test model, with itself for drafts: all of them are right, but for rounding.
fn drafting() -> TestEngine {
    TestEngine::load_with(LoadOptions { draft: Some(crate::engine::tests::model_path()), ..options() })
}

#[test]
fn a_draft_model_saves_steps_and_changes_no_answer() {
    let mut engine = drafting();
    let mut drafter = engine.engine.drafter.take();
    let mut steps_of = [0, 0];
    for ask in ["Write a poem.", "Tell me a story about a bee.", "Count to thirty."] {
        let ask = short(48, greedy(ask));
        let mut runs = Vec::new();
        for _ in 0..2 {
            let mut company = Company::default();
            let slot = company.begin(&mut engine, &ask).expect("a slot is free");
            while engine.engine.busy() > 0 {
                company.step(&mut engine, &[]);
                steps_of[runs.len()] += 1;
            }
            runs.push(company.tokens.remove(&slot).unwrap_or_default());
            std::mem::swap(&mut engine.engine.drafter, &mut drafter);
        }
        let (alone, tokens) = (&runs[0], &runs[1]);
        let margin = parted(&mut engine, &ask, tokens, alone);
        assert!(margin <= EPSILON, "{margin}: {tokens:?}, not {alone:?}");
    }
    let [without, with] = steps_of;
    assert!(with * 3 < without * 2, "{with} steps instead of {without}");
}

#[test]
fn a_draft_model_follows_each_slot_and_forgets_it_with_its_principal() {
    let mut engine = drafting();
    let asks: Vec<_> = ["a", "b", "a"]
        .into_iter()
        .zip(["Tell me a story about a bee.", "Write a poem.", "Count to thirty."])
        .map(|(scope, text)| of(scope, short(32, greedy(&format!("{text} {}", long_text(40))))))
        .collect();
    let drafter = engine.engine.drafter.take();
    let alone = generate(&mut engine, &asks.iter().map(|ask| (ask, 0)).collect::<Vec<_>>());
    engine.engine.drafter = drafter;
    for round in 0..2 {
        let steps = if round == 0 { [0, 2, 5] } else { [0, 0, 9] };
        let answers = generate(&mut engine, &asks.iter().zip(steps).collect::<Vec<_>>());
        for ((ask, answer), alone) in asks.iter().zip(&answers).zip(&alone) {
            let margin = parted(&mut engine, ask, answer, alone);
            assert!(margin <= EPSILON, "{answer:?} instead of {alone:?}: {margin}");
        }
    }
    let known =
        |engine: &TestEngine, slot| engine.engine.drafter.as_ref().map_or(0, |drafter| drafter.known(slot));
    let slots = engine.engine.slots.len();
    assert!((0..slots).any(|slot| known(&engine, slot) > 40), "it has read prompts");
    for scope in [Some("c"), None, None] {
        let ask = GenerateRequest { scope: scope.map(str::to_owned), ..short(4, greedy(&long_text(40))) };
        let mut company = Company::default();
        for _ in 0..slots {
            company.begin(&mut engine, &ask);
        }
        assert!(
            (0..slots).all(|slot| known(&engine, slot) == 0),
            "whoever asked in {scope:?} has asked nothing before"
        );
        company.finish(&mut engine);
    }
}

#[test]
fn what_is_idle_is_saved_while_a_neighbours_draft_is_not_verified_yet() {
    let mut engine = TestEngine::load();
    // Which tokens are drafted when is the model's affair, so one of these is bound to meet a draft.
    let met = (2..12).any(|tokens| {
        engine.run(&of("a", short(1, greedy(&format!("{tokens} {}", long_text(held::IDLE_TOKENS_MAX))))));
        let mut company = Company::default();
        let first = company.begin(&mut engine, &of("a", short(tokens, greedy("Tell me a story."))));
        let drafted = company.begin(&mut engine, &of("a", repetition())).expect("a slot is free");
        let mut before = 0;
        while !company.ended.contains_key(&first.expect("a slot is free")) {
            before = company.written(drafted);
            company.step(&mut engine, &[]);
        }
        let at_once = company.written(drafted) - before;
        company.finish(&mut engine);
        assert_ne!(company.ended[&drafted].finish_reason, FinishReason::Cancelled);
        engine.engine.rest();
        at_once > 1
    });
    assert!(met);
}

#[test]
fn whole_prompts_go_before_parts() {
    // So many tokens unread, so many left of a step of 160.
    for ((unread, left), expected) in [
        ((70, 160), 70),
        ((70, 90), 70),
        ((70, 20), 0),
        ((500, 160), 125),
        ((500, 90), 84),
        ((500, 80), 0),
        ((161, 160), 81),
        ((1, 1), 1),
        ((1, 0), 0),
        ((0, 160), 0),
    ] {
        assert_eq!(part_of_prompt(unread, left, 160), expected, "{unread} tokens, {left} left");
    }
    assert_eq!(part_of_prompt(9, 1, 1), 1);
}

#[test]
fn a_stream_goes_on_while_a_long_prompt_is_read() {
    let mut engine = TestEngine::load();
    engine.engine.pace.gap = Duration::ZERO;
    engine.engine.pace.long_gap = Duration::ZERO;
    let mut company = Company::default();
    let stream = company.begin(&mut engine, &short(60, greedy("Tell me a story."))).expect("a slot is free");
    while company.text(stream).is_empty() {
        company.step(&mut engine, &[]);
    }
    let reader = company.begin(&mut engine, &short(4, greedy(&long_text(700)))).expect("a slot is free");
    let before = company.written(stream);
    let mut steps = 0;
    while company.text(reader).is_empty() && !company.ended.contains_key(&stream) {
        company.step(&mut engine, &[]);
        steps += 1;
        let written = company.written(stream) - before;
        assert!(written >= steps || company.ended.contains_key(&stream), "{written} tokens in {steps} steps");
    }
    assert!(steps > 5);
    company.finish(&mut engine);
}

fn raw(scope: &str, prompt: &str) -> GenerateRequest {
    let request = GenerateRequest { messages: Vec::new(), prompt: Some(prompt.to_owned()), ..greedy("") };
    of(scope, short(24, request))
}

/// Models of other kinds, with random weights: one whose memory is a state, and one with a sliding window.
fn others() -> [(&'static str, tempfile::NamedTempFile); 2] {
    [("recurrent", test_models::mamba()), ("sliding", test_models::sliding())]
}

/// What is generated behind each prompt, each asked for after so many steps.
fn generate(engine: &mut TestEngine, prompts: &[(&GenerateRequest, usize)]) -> Vec<Vec<LlamaToken>> {
    let mut company = Company::default();
    let mut begun = Vec::new();
    for (request, steps) in prompts {
        for _ in 0..*steps {
            company.step(engine, &[]);
        }
        begun.push(company.begin(engine, request).expect("a slot is free"));
    }
    company.finish(engine);
    begun.iter().map(|slot| company.tokens.remove(slot).unwrap_or_default()).collect()
}

#[test]
fn other_kinds_of_models_answer_in_company_as_alone() {
    /// The weights are not quantised, but what is computed of tokens is kept in 16 bits.
    const EPSILON: f32 = 0.1;
    for (kind, file) in others() {
        let mut engine = TestEngine::load_from(file.path(), options());
        let text = "the bee flies to the flower, and the flower waits for the bee. ";
        let prompts =
            [text.repeat(4), "a list: one, two, three, one, two, three, one".to_owned(), text.repeat(2)];
        let requests: Vec<_> = prompts.iter().map(|prompt| raw("a", prompt)).collect();
        // Whoever is not to find anything computed has a scope of their own.
        let alone: Vec<_> = ["b", "c", "d"]
            .iter()
            .zip(&requests)
            .map(|(scope, request)| generate(&mut engine, &[(&of(scope, request.clone()), 0)]).remove(0))
            .collect();
        let steps = [0, 3, 1];
        let together = generate(&mut engine, &requests.iter().zip(steps).collect::<Vec<_>>());
        for ((request, together), alone) in requests.iter().zip(&together).zip(&alone) {
            let margin = parted(&mut engine, request, together, alone);
            assert!(margin <= EPSILON, "{kind}: {together:?} instead of {alone:?}: {margin}");
        }
    }
}

#[test]
fn what_a_model_of_another_kind_computed_is_used_again_only_where_it_can_be() {
    for (kind, file) in others() {
        let mut engine = TestEngine::load_from(file.path(), options());
        let text = "the bee flies to the flower, and the flower waits for the bee. ".repeat(3);
        let (asked, more) = (raw("a", &text), raw("a", &format!("{text}And then")));
        let expected = generate(&mut engine, &[(&of("b", more.clone()), 0)]);
        let (first, _) = engine.run(&asked);
        let (second, _) = engine.run(&more);
        let again = if kind == "recurrent" { 0..=0 } else { first.prompt_tokens - 8..=first.prompt_tokens };
        assert!(again.contains(&second.cached_tokens), "{kind}: {second:?}");
        engine.engine.rest();
        let (third, _) = engine.run(&more);
        assert_eq!(third.cached_tokens > 0, kind != "recurrent", "{kind}: {third:?}");
        // What was in the slots before does not matter.
        assert_eq!(generate(&mut engine, &[(&of("c", more), 0)]), expected, "{kind}");
    }
}

#[test]
fn a_cancel_frees_the_slot_of_other_kinds_of_models() {
    for (kind, file) in others() {
        let mut engine = TestEngine::load_from(file.path(), options());
        let request = raw("a", &"the bee flies to the flower. ".repeat(12));
        let long = GenerateRequest { max_tokens: Some(400), ..request.clone() };
        let expected = generate(&mut engine, &[(&of("b", request.clone()), 0)]);
        for steps in [0, 1, 3, 8] {
            let mut company = Company::default();
            let slot = company.begin(&mut engine, &long).expect("a slot is free");
            for _ in 0..steps {
                company.step(&mut engine, &[]);
            }
            company.step(&mut engine, &[slot]);
            assert_eq!(company.ended[&slot].finish_reason, FinishReason::Cancelled, "{kind}, {steps}");
            assert_eq!(engine.engine.busy(), 0, "{kind}, {steps}");
        }
        assert_eq!(generate(&mut engine, &[(&of("c", request), 0)]), expected, "{kind}");
    }
}
