//! What is asked. Each question has a number, and those of different numbers differ from their first
//! words on, so that nobody has the beginning of one from another.

use std::fmt::Write;

use rbee_protocol::{Message, Role};

use crate::infer::ask::{Input, Question};

/// Lines of the list that takes about 5,000 tokens.
const LONG_LINES: usize = 178;

/// How a model is spoken to: as its template says, or, where it has none, with a text to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Chat,
    Text,
}

const SUBJECTS: [&str; 8] = [
    "a beekeeper finds a hive in an old clock tower",
    "a lighthouse keeper hears a voice on the radio",
    "two sisters open a bakery beside the railway",
    "a botanist looks for a flower that nobody has drawn",
    "a ferry stays on the river for a whole winter",
    "a carpenter builds a bridge without a single nail",
    "a teacher takes her class across the mountains",
    "an astronomer loses the only map of the southern sky",
];

/// A prompt of about 70 tokens, to be answered at length.
pub(crate) fn story(manner: Manner, number: usize) -> Question {
    let (year, subject) = (1000 + number, SUBJECTS[number % SUBJECTS.len()]);
    let input = match manner {
        Manner::Chat => Input::Chat(vec![
            system(format!("You are storyteller number {number}, and your stories are long.")),
            user(format!(
                "In the year {year}, {subject}. Write a very long story of it, with all its people, and let \
                 them talk a lot."
            )),
        ]),
        Manner::Text => Input::Text(format!(
            "In the year {year}, {subject}. This is the story of it, as the people of the village told it for \
             many years, with everything that they saw and said, from the first day to the last. It is a long \
             story, and it begins on a cold and quiet morning in March, when"
        )),
    };
    sampled(input, number)
}

/// To be answered with tokens that follow from a seed.
fn sampled(input: Input, number: usize) -> Question {
    Question { input, seed: Some(number as u64), without: Vec::new() }
}

/// To be answered with the likeliest tokens.
fn greedy(input: Input) -> Question {
    Question { input, seed: None, without: Vec::new() }
}

/// Prompt number `number` of those that have the first 400 tokens in common with all of `group`.
pub(crate) fn with_common_beginning(manner: Manner, group: usize, number: usize) -> Question {
    sampled(question_to_librarian(manner, group, number), number)
}

fn question_to_librarian(manner: Manner, group: usize, number: usize) -> Input {
    let mut rules = format!("Branch {group} of the public library has these rules. ");
    for (index, rule) in RULES.iter().enumerate() {
        let _ = write!(rules, "Rule {}: {rule} ", index + 1);
    }
    let subject = SUBJECTS[number % SUBJECTS.len()];
    let question = format!("Reader {number} asks for a book in which {subject}. Describe one at length.");
    match manner {
        Manner::Chat => Input::Chat(vec![system(rules), user(question)]),
        Manner::Text => Input::Text(format!("{rules}\n\nQuestion: {question}\n\nA long answer: The book")),
    }
}

const RULES: [&str; 16] = [
    "books may be kept for four weeks, and for two more if nobody else has asked for them.",
    "newspapers stay in the reading room, where there is a table for them beside the window.",
    "whoever brings a book back late pays a small sum for each week, but never more than its price.",
    "children may borrow whatever they like as long as one of their parents has signed for them.",
    "maps are unrolled on the long table only, with clean hands and with nothing to drink nearby.",
    "a question about a book is answered with its title, its author, and what happens in it.",
    "recommendations are generous and friendly, and they say for whom a book is meant.",
    "the piano in the hall may be played between noon and two, softly, with the doors closed.",
    "letters and diaries from the archive are handed out one at a time and read at the desk.",
    "nobody is asked why they want to read something, and nobody is told what others read.",
    "lost books are replaced with the same edition, or with one that the librarian chooses.",
    "the catalogue is in the first room on the left, sorted by author, then by year.",
    "groups of more than six announce themselves a week before they come, by letter or by phone.",
    "dogs wait in the courtyard, where there is water for them and a roof against the rain.",
    "lamps are switched off by whoever is the last to leave a room in the evening.",
    "answers are long and complete, in whole sentences, without lists and without headings.",
];

/// The first turn of a conversation, and then the second, which goes on from `answer`.
pub(crate) fn conversation(manner: Manner, number: usize, answer: Option<&str>) -> Question {
    const NEXT: &str = "And what happened on the day after that? Go on.";
    let mut input = question_to_librarian(manner, number, number);
    if let Some(answer) = answer {
        match &mut input {
            Input::Chat(messages) => {
                messages.push(Message::new(Role::Assistant, answer));
                messages.push(user(NEXT.to_owned()));
            }
            Input::Text(text) => {
                let _ = write!(text, "{answer}\n\nQuestion: {NEXT}\n\nA long answer:");
            }
        }
    }
    sampled(input, number)
}

/// A source file, to be given back with one name changed. Small models do not unless they are shown what is meant.
pub(crate) fn edit(manner: Manner, number: usize) -> Question {
    let name = format!("total_{number}");
    greedy(match manner {
        Manner::Chat => {
            let ask = |file: &str, old: &str, new: &str| {
                format!("Return this file with `{old}` renamed to `{new}`:\n```python\n# {number}\n{file}```")
            };
            let length = format!("length_{number}");
            let shown = format!("```python\n# {number}\n{}```", SHOWN_FILE.replace("size", &length));
            Input::Chat(vec![
                user(ask(SHOWN_FILE, "size", &length)),
                Message::new(Role::Assistant, shown),
                user(ask(file(manner), "count", &name)),
            ])
        }
        Manner::Text => Input::Text(format!(
            "Exercise {number}. Rename one variable, and copy everything else as it is.\n\n\
             Before:\n```python\nsize = 3\nprint(size)\n```\nAfter, with `size` renamed to `length`:\n\
             ```python\nlength = 3\nprint(length)\n```\n\n\
             Before:\n```python\n{}```\nAfter, with `count` renamed to `{name}`:\n```python\n",
            file(manner)
        )),
    })
}

/// What the file takes. What comes after it is no edit.
pub(crate) fn edit_tokens(manner: Manner) -> u32 {
    match manner {
        Manner::Chat => 240,
        Manner::Text => 512,
    }
}

/// What is to be given back: of a model that loses itself in long files, the beginning.
fn file(manner: Manner) -> &'static str {
    match manner {
        Manner::Chat => FILE.split_inclusive("self.count += count\n").next().unwrap_or(FILE),
        Manner::Text => FILE,
    }
}

/// How much of the edited file an answer to [`edit`] has, from 0 to 1: the part of the file's different lines that
/// come in it in their order, and with the new name. So neither a line said again and again nor a copy without the
/// edit counts as the file.
#[expect(clippy::cast_precision_loss, reason = "some dozens of lines")]
pub(crate) fn part_of_file(manner: Manner, number: usize, answer: &str) -> f64 {
    let edited = file(manner).replace("count", &format!("total_{number}"));
    let mut wanted: Vec<&str> = Vec::new();
    for line in lines(&edited) {
        if !wanted.contains(&line) {
            wanted.push(line);
        }
    }
    // The longest common subsequence, of the wanted lines so far and the answer's.
    let mut common = vec![0; wanted.len() + 1];
    for line in lines(answer) {
        let mut diagonal = 0;
        for (index, wanted) in wanted.iter().enumerate() {
            let above = common[index + 1];
            common[index + 1] = if line == *wanted { diagonal + 1 } else { above.max(common[index]) };
            diagonal = above;
        }
    }
    f64::from(common[wanted.len()]) / wanted.len() as f64
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

const FILE: &str = include_str!("inventory.py.txt");
/// Another one, whose edit is shown.
const SHOWN_FILE: &str = include_str!("folder.py.txt");

/// A question whose answer does not end by itself.
pub(crate) fn endless(manner: Manner, number: usize) -> Question {
    let (input, ends) = match manner {
        Manner::Chat => {
            let text = format!("Count from {number} to 1000, one number in each line, and leave none out.");
            (Input::Chat(vec![user(text)]), SMOLLM2_ENDS)
        }
        Manner::Text => {
            let lines: String = (number..number + 10).map(|n| format!("{n}\n")).collect();
            (Input::Text(format!("All whole numbers from {number} to 1000:\n{lines}")), GEMMA_ENDS)
        }
    };
    Question { without: ends.to_vec(), ..greedy(input) }
}

/// The tokens with which the models end an answer.
const SMOLLM2_ENDS: [u32; 2] = [0, 2];
const GEMMA_ENDS: [u32; 2] = [1, 106];

/// A prompt of about 5,000 tokens.
pub(crate) fn long(manner: Manner, number: usize) -> Question {
    let text = format!("{}What is this diary about?", diary(number));
    greedy(match manner {
        Manner::Chat => Input::Chat(vec![user(text)]),
        Manner::Text => Input::Text(text),
    })
}

/// The same diary, and then something else to be answered at length: in an answer about the diary there would be much to draft.
pub(crate) fn story_behind_diary(manner: Manner, number: usize) -> Question {
    let mut question = story(manner, number);
    match &mut question.input {
        Input::Chat(messages) => messages.insert(0, system(diary(number))),
        Input::Text(text) => text.insert_str(0, &diary(number)),
    }
    question
}

fn diary(number: usize) -> String {
    let mut text = format!("Diary number {number}. ");
    for line in 0..LONG_LINES {
        let subject = SUBJECTS[(line * 5 + number) % SUBJECTS.len()];
        let _ = write!(text, "On day {} of the year {}, we hear that {subject}. ", line + 1, 1800 + number);
    }
    text
}

fn system(content: String) -> Message {
    Message::new(Role::System, content)
}

fn user(content: String) -> Message {
    Message::new(Role::User, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(question: Question) -> String {
        match question.input {
            Input::Chat(messages) => {
                let contents: Vec<String> =
                    messages.into_iter().filter_map(|message| message.content).collect();
                contents.join("\n")
            }
            Input::Text(text) => text,
        }
    }

    fn common_bytes(a: &str, b: &str) -> usize {
        a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
    }

    #[test]
    fn prompts_of_different_numbers_differ_from_their_first_words_on() {
        for manner in [Manner::Chat, Manner::Text] {
            let first_turn = |manner, number| conversation(manner, number, None);
            for make in [story, endless, long, edit, first_turn] {
                let (one, other) = (text(make(manner, 1)), text(make(manner, 2)));
                assert!(common_bytes(&one, &other) < 50, "{one}\n{other}");
            }
            let group = |group| text(with_common_beginning(manner, group, 0));
            assert!(common_bytes(&group(1), &group(2)) < 40);
        }
    }

    #[test]
    fn prompts_of_one_group_have_their_beginning_in_common() {
        for manner in [Manner::Chat, Manner::Text] {
            let number = |number| text(with_common_beginning(manner, 1, number));
            let common = common_bytes(&number(0), &number(1));
            assert!(common > 1000 && common < number(0).len() - 20);
        }
    }

    #[test]
    fn the_second_turn_begins_with_the_first() {
        for manner in [Manner::Chat, Manner::Text] {
            let first = text(conversation(manner, 3, None));
            let second = text(conversation(manner, 3, Some(" Yes.")));
            assert!(second.starts_with(&first) && second.contains(" Yes."), "{second}");
        }
    }

    #[test]
    fn a_copy_is_told_from_another_text() {
        let copy = FILE.replace("count", "total_4");
        assert_eq!(part_of_file(Manner::Text, 4, &copy), 1.0);
        assert_eq!(part_of_file(Manner::Text, 4, &format!("Certainly:\n```python\n{copy}```\n")), 1.0);
        assert_eq!(part_of_file(Manner::Text, 4, "Certainly!\nHere you are."), 0.0);
        assert_eq!(part_of_file(Manner::Text, 4, ""), 0.0);
    }

    #[test]
    fn what_is_less_than_the_edited_file_counts_for_less() {
        let copy = FILE.replace("count", "total_4");
        let lines: Vec<&str> = lines(&copy).collect();
        // A loop: one line, and then a few, again and again.
        assert!(part_of_file(Manner::Text, 4, &"import csv\n".repeat(100)) < 0.03);
        assert!(part_of_file(Manner::Text, 4, &lines[..4].join("\n").repeat(50)) < 0.1);
        // An answer that ends early, and one that is not edited.
        let half = part_of_file(Manner::Text, 4, &lines[..lines.len() / 2].join("\n"));
        assert!((0.4..0.6).contains(&half), "{half}");
        let unedited = part_of_file(Manner::Text, 4, FILE);
        assert!((0.5..0.8).contains(&unedited), "{unedited}");
        // One with all lines, the last first.
        let backwards: Vec<&str> = lines.iter().rev().copied().collect();
        assert!(part_of_file(Manner::Text, 4, &backwards.join("\n")) < 0.1);
    }
}
