//! What happens while a job runs, and between two runs of it.

use super::{
    fake::{Fake, record},
    *,
};
use weir_engine::error::ErrorKind;

fn number(n: i64) -> fake::Lies {
    record(0, &format!("{{\"n\":{n}}}"))
}

async fn refused(config: &KafkaConfig, positions: &[SplitState]) -> String {
    let error = Running::begin(config, context(0, 1), positions.to_vec()).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
    error.message
}

#[tokio::test(start_paused = true)]
async fn a_position_that_cannot_be_continued_is_an_error_and_never_another_place() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 2)]);
    fake.put("t", 0, (0..10).map(number));
    let config = KafkaConfig::topics(brokers.clone(), ["t"]).format(numbers());
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    assert_eq!(running.read_what_there_is().await.unwrap().numbers().len(), 10);
    let positions = running.positions();
    fake.change("t", 0, |log| log.lies.truncate(4));
    assert!(refused(&config, &positions).await.contains("there is no offset 10 in t-0: it ends at 4"));
    fake.put("t", 0, (4..20).map(number));
    fake.change("t", 0, |log| log.beginning = 12);
    assert!(refused(&config, &positions).await.contains("the oldest one there is 12, so 2 were removed"));
    fake.make("t", 2);
    assert!(refused(&config, &positions).await.contains("was deleted and made anew"));
    fake.0.lock().topics.clear();
    assert!(refused(&config, &positions).await.contains("the topic 't' is gone"));
    assert!(refused(&config, &[]).await.contains("there is no topic 't'"));
    // Who takes the topic out of the definition need not have it.
    fake.make("u", 1);
    let other = KafkaConfig::topics(brokers, ["u"]).format(numbers());
    let mut running = Running::begin(&other, context(0, 1), positions).await.unwrap();
    assert!(running.positions().is_empty());
    fake.put("u", 0, [number(3)]);
    for _ in 0..4 {
        running.read_what_there_is().await.unwrap();
    }
    assert_eq!(running.read.numbers(), [3], "it is found, and read from its beginning");
}

#[tokio::test(start_paused = true)]
async fn new_partitions_and_topics_are_found_and_read_from_their_beginning() {
    let (fake, _provided, brokers) = Fake::with(&[("clicks-a", 1), ("views", 1), ("weir-progress-x", 1)]);
    let config = KafkaConfig::topics(brokers, [""; 0]).format(numbers()).start(Start::Latest);
    let config = KafkaConfig { pattern: Some("clicks-*".into()), ..config };
    let mut subtasks = Vec::new();
    for subtask in 0..2 {
        subtasks.push(Running::begin(&config, context(subtask, 2), Vec::new()).await.unwrap());
    }
    fake.0.lock().topics.get_mut("clicks-a").expect("it").1.resize(4, fake::Log::default());
    (0..4).for_each(|partition| fake.put("clicks-a", partition, [number(partition as i64)]));
    fake.make("clicks-b", 1);
    fake.put("clicks-b", 0, [number(4)]);
    fake.put("views", 0, [number(5)]);
    let mut found = Vec::new();
    let mut positions = Vec::new();
    for running in &mut subtasks {
        for _ in 0..4 {
            running.read_what_there_is().await.unwrap();
        }
        found.extend(running.read.numbers());
        positions.extend(running.positions());
    }
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 3, 4]);
    positions.retain(|position| position.id != "begun");
    assert_eq!(positions.len(), 5, "each has one owner");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_came_while_the_job_was_down_is_read_from_its_beginning() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers()).start(Start::Latest);
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    let positions = running.positions();
    drop(running);
    fake.0.lock().topics.get_mut("t").expect("it").1.push(fake::Log::default());
    fake.put("t", 1, (0..3).map(number));
    let mut running = Running::begin(&config, context(0, 1), positions).await.unwrap();
    for _ in 0..4 {
        running.read_what_there_is().await.unwrap();
    }
    assert_eq!(running.read.numbers(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_while_it_is_read_is_an_error() {
    for anew in [false, true] {
        let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
        let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
        let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
        fake.put("t", 0, (0..3).map(number));
        running.read_what_there_is().await.unwrap();
        fake.0.lock().topics.clear();
        if anew {
            fake.make("t", 1);
            fake.put("t", 0, (0..9).map(number));
            fake.change("t", 0, |log| log.open_from = Some(3));
        }
        let mut failure = None;
        for _ in 0..4 {
            failure = failure.or(running.read_what_there_is().await.err());
        }
        let told = failure.expect("an error").message;
        assert!(told.contains("t-0") && told.contains("offset 3"), "{told}");
        assert_eq!(running.read.numbers(), [0, 1, 2]);
    }
}

/// A source of topics that fit `t*`.
fn of_pattern(brokers: &str) -> KafkaConfig {
    let config = KafkaConfig::topics(brokers.to_owned(), [""; 0]).format(numbers());
    KafkaConfig { pattern: Some("t*".into()), ..config }
}

fn ids(positions: &[SplitState]) -> Vec<&str> {
    let mut ids: Vec<&str> = positions.iter().map(|position| position.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Reads for long enough that topics are looked for several times.
async fn read_on(running: &mut Running) {
    for _ in 0..20 {
        running.read_what_there_is().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_a_pattern_that_is_deleted_is_no_longer_read_and_a_new_one_of_its_name_is_from_its_beginning() {
    let (fake, _provided, brokers) = Fake::with(&[("t1", 1), ("t2", 1)]);
    let config = of_pattern(&brokers);
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    fake.put("t1", 0, (0..3).map(number));
    fake.put("t2", 0, (10..13).map(number));
    read_on(&mut running).await;
    let before = running.positions();
    assert_eq!(ids(&before), ["begun", "t1-0", "t2-0"]);
    fake.0.lock().topics.remove("t1");
    read_on(&mut running).await;
    fake.put("t2", 0, [number(13)]);
    read_on(&mut running).await;
    assert_eq!(ids(&running.positions()), ["begun", "t2-0"]);
    assert!(running.read.dead_letters.is_empty(), "all of it had been read: {:?}", running.read.dead_letters);
    fake.make("t1", 1);
    fake.put("t1", 0, [number(20)]);
    read_on(&mut running).await;
    assert_eq!(ids(&running.positions()), ["begun", "t1-0", "t2-0"]);
    let mut found = running.read.numbers();
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 10, 11, 12, 13, 20]);
    // It was deleted while the job was down.
    fake.0.lock().topics.remove("t1");
    let mut running = Running::begin(&config, context(0, 1), before).await.unwrap();
    read_on(&mut running).await;
    assert_eq!(running.read.numbers(), [13]);
    assert_eq!(ids(&running.positions()), ["begun", "t2-0"]);
    let told = &running.read.dead_letters[0];
    assert!(
        told.2.contains("t1-0 was read up to offset 3, and how much of it had not been read is not known"),
        "{told:?}"
    );
}

/// A position as of a split that has ended, and has not been forgotten yet.
fn ended(mut position: SplitState) -> SplitState {
    position.state["finished"] = true.into();
    position
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_between_the_end_of_a_deleted_topic_and_its_forgetting_is_gone_on_from() {
    for made_anew_meanwhile in [false, true] {
        let (fake, _provided, brokers) = Fake::with(&[("t1", 1), ("t2", 1)]);
        let config = of_pattern(&brokers);
        let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
        fake.put("t1", 0, (0..3).map(number));
        read_on(&mut running).await;
        let is_of_t1 = |position: &SplitState| position.id == "t1-0";
        let positions = running.positions();
        let positions = positions.into_iter().map(|one| if is_of_t1(&one) { ended(one) } else { one }).collect();
        fake.0.lock().topics.remove("t1");
        if made_anew_meanwhile {
            fake.make("t1", 1);
        }
        let mut running = Running::begin(&config, context(0, 1), positions).await.unwrap();
        read_on(&mut running).await;
        if !made_anew_meanwhile {
            assert_eq!(ids(&running.positions()), ["begun", "t2-0"]);
            fake.make("t1", 1);
        }
        fake.put("t1", 0, [number(20)]);
        read_on(&mut running).await;
        assert_eq!(running.read.numbers(), [20]);
        assert_eq!(ids(&running.positions()), ["begun", "t1-0", "t2-0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_missing_for_long_and_comes_again_is_read_on_where_it_was() {
    let (fake, _provided, brokers) = Fake::with(&[("t1", 1)]);
    let mut running = Running::begin(&of_pattern(&brokers), context(0, 1), Vec::new()).await.unwrap();
    fake.put("t1", 0, (0..3).map(number));
    running.read_what_there_is().await.unwrap();
    let topics = std::mem::take(&mut fake.0.lock().topics);
    read_on(&mut running).await;
    assert_eq!(ids(&running.positions()), ["begun"]);
    fake.0.lock().topics = topics;
    fake.put("t1", 0, [number(3)]);
    read_on(&mut running).await;
    assert_eq!(running.read.numbers(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_a_deleted_topic_had_and_nobody_read_is_a_dead_letter() {
    let (fake, _provided, brokers) = Fake::with(&[("t1", 1)]);
    let mut running = Running::begin(&of_pattern(&brokers), context(0, 1), Vec::new()).await.unwrap();
    fake.put("t1", 0, (0..5).map(number));
    fake.change("t1", 0, |log| log.open_from = Some(3));
    running.read_what_there_is().await.unwrap();
    fake.0.lock().topics.clear();
    read_on(&mut running).await;
    assert_eq!(running.read.numbers(), [0, 1, 2]);
    let told: Vec<_> = running.read.dead_letters.iter().map(|letter| letter.2.as_str()).collect();
    let expected = "its topic is gone: t1-0 was read up to offset 3, and 2 offsets before its end had not been read";
    assert_eq!(told, [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_missing_in_one_answer_is_not_gone() {
    let (fake, _provided, brokers) = Fake::with(&[("t1", 1)]);
    let config = KafkaConfig { discover_ms: Some(10_000), ..of_pattern(&brokers) };
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    fake.put("t1", 0, (0..3).map(number));
    running.read_what_there_is().await.unwrap();
    let topics = std::mem::take(&mut fake.0.lock().topics);
    // It is looked once meanwhile.
    for _ in 0..2 {
        running.read_what_there_is().await.unwrap();
    }
    fake.0.lock().topics = topics;
    fake.put("t1", 0, [number(3)]);
    for _ in 0..8 {
        running.read_what_there_is().await.unwrap();
    }
    assert_eq!(running.read.numbers(), [0, 1, 2, 3]);
    assert_eq!(ids(&running.positions()), ["begun", "t1-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_began_without_topics_reads_what_came_later_from_its_beginning_restarted_or_not() {
    for restarted in [false, true] {
        let (fake, _provided, brokers) = Fake::with(&[]);
        let config = of_pattern(&brokers).start(Start::Latest);
        let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
        running.read_what_there_is().await.unwrap();
        let positions = running.positions();
        fake.make("t1", 1);
        fake.put("t1", 0, (0..3).map(number));
        if restarted {
            running = Running::begin(&config, context(0, 1), positions).await.unwrap();
        }
        read_on(&mut running).await;
        assert_eq!(running.read.numbers(), [0, 1, 2], "{restarted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_added_to_a_job_with_an_end_is_read_from_its_beginning_to_its_end() {
    let (fake, _provided, brokers) = Fake::with(&[("a", 1), ("b", 2)]);
    fake.put("a", 0, (0..3).map(number));
    fake.put("b", 1, (10..12).map(number));
    let of = |topics: &[&str]| {
        KafkaConfig::topics(brokers.clone(), topics.iter().copied()).format(numbers()).end(End::Latest)
    };
    let mut running = Running::begin(&of(&["a"]), context(0, 1), Vec::new()).await.unwrap();
    let positions = running.positions();
    let mut running = Running::begin(&of(&["a", "b"]), context(0, 1), positions).await.unwrap();
    let mut found = running.read_what_there_is().await.unwrap().numbers();
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 10, 11]);
    assert!(running.read.ended);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_read_as_soon_as_it_comes() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 3)]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    running.read_what_there_is().await.unwrap();
    let env = Env::default();
    for n in 0..100 {
        let began = env.now();
        let produce = async {
            env.sleep(Duration::from_millis(7)).await;
            fake.put("t", n as usize % 3, [number(n)]);
        };
        let rows = running.read.rows.len();
        let read = async {
            while running.read.rows.len() == rows {
                running.read_one().await.unwrap();
            }
        };
        tokio::join!(produce, read);
        assert!(env.now() - began < Duration::from_millis(9), "nobody waits for a poll");
    }
    assert_eq!(running.read.numbers(), (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn brokers_that_are_away_are_waited_for_and_nothing_is_lost() {
    for end in [None, Some(End::Latest)] {
        let (fake, _provided, brokers) = Fake::with(&[("t", 2)]);
        fake.put("t", 0, (0..10).map(number));
        let config = KafkaConfig { end, ..KafkaConfig::topics(brokers, ["t"]).format(numbers()) };
        let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
        fake.0.lock().away = true;
        assert!(running.read_what_there_is().await.unwrap().numbers().is_empty());
        let waits = running.context.waits.now();
        let cause = &waits.get("source.clicks").expect("it says that it waits").cause;
        assert_eq!(cause, "Kafka: no broker answers");
        let error = Running::begin(&config, context(0, 1), Vec::new()).await.err().expect("nobody answers");
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}: whoever starts the attempt waits");
        fake.0.lock().away = false;
        assert_eq!(running.read_what_there_is().await.unwrap().numbers(), (0..10).collect::<Vec<_>>());
        assert!(running.context.waits.now().is_empty(), "{:?}", running.context.waits.now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_resumes_although_brokers_are_away_and_reads_on_when_they_are_back_and_say_that_it_can() {
    for truncated in [false, true] {
        let (fake, _provided, brokers) = Fake::with(&[("t", 2)]);
        fake.put("t", 0, (0..5).map(number));
        let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
        let mut before = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
        assert_eq!(before.read_what_there_is().await.unwrap().numbers(), (0..5).collect::<Vec<_>>());
        let positions = before.positions();
        drop(before);
        fake.put("t", 0, (5..9).map(number));
        fake.0.lock().away = true;
        let mut running = Running::begin(&config, context(0, 1), positions.clone()).await.unwrap();
        assert!(running.read_what_there_is().await.unwrap().numbers().is_empty());
        assert!(running.context.waits.now().contains_key("source.clicks"), "it says that it waits");
        let places =
            |splits: &[SplitState]| splits.iter().map(|split| split.state["position"].clone()).collect::<Vec<_>>();
        assert_eq!(places(&running.positions()), places(&positions), "nothing is forgotten meanwhile");
        if truncated {
            fake.change("t", 0, |log| log.lies.truncate(2));
        }
        fake.0.lock().away = false;
        let mut failure = None;
        for _ in 0..4 {
            failure = failure.or(running.read_what_there_is().await.err());
        }
        let expected: &[i64] = if truncated { &[] } else { &[5, 6, 7, 8] };
        assert_eq!(running.read.numbers(), expected);
        assert_eq!(
            failure.map(|error| error.message.contains("there is no offset 5 in t-0")),
            truncated.then_some(true)
        );
        assert!(truncated || running.context.waits.now().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_topic_does_not_keep_saying_that_its_brokers_are_away() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    fake.0.lock().away = true;
    running.read_what_there_is().await.unwrap();
    assert_eq!(running.context.waits.now().len(), 1);
    fake.0.lock().away = false;
    for _ in 0..3 {
        running.read_what_there_is().await.unwrap();
    }
    assert!(running.context.waits.now().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_before_it_was_read_ends_the_attempt_with_the_offset() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    fake.put("t", 0, (0..3).map(number));
    fake.change("t", 0, |log| log.beginning = 2);
    let told = running.read_what_there_is().await.unwrap_err().message;
    assert!(told.contains("the record at offset 0 of t-0 is gone") && told.contains("--fresh"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_told_the_positions_of_a_complete_checkpoint_and_no_others() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    let config = KafkaConfig { group: Some("g".into()), ..KafkaConfig::topics(brokers, ["t"]).format(numbers()) };
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    let noted = || fake.0.lock().groups.values().copied().collect::<Vec<_>>();
    let mut before = Vec::new();
    for (n, expected) in [(0, vec![]), (1, vec![1]), (2, vec![2])] {
        fake.put("t", 0, [number(n)]);
        for taken in [false, true] {
            if taken {
                running.positions();
            }
            for _ in 0..3 {
                running.read_what_there_is().await.unwrap();
            }
            assert_eq!(noted(), if taken { expected.clone() } else { before.clone() }, "{n} {taken}");
        }
        before = expected;
    }
}

#[tokio::test(start_paused = true)]
async fn it_says_how_far_it_is_behind() {
    let (fake, _provided, brokers) = Fake::with(&[("t", 1)]);
    let config = KafkaConfig::topics(brokers, ["t"]).format(numbers());
    let mut running = Running::begin(&config, context(0, 1), Vec::new()).await.unwrap();
    fake.put("t", 0, (0..5).map(number));
    fake.change("t", 0, |log| log.open_from = Some(3));
    running.read_what_there_is().await.unwrap();
    let lag = running.context.lags.now()["t-0"];
    assert_eq!(lag.records, 2, "what is not decided yet");
    assert!(lag.behind_ms > 1_700_000_000_000, "the newest record that was read is of 1970");
    fake.change("t", 0, |log| log.open_from = None);
    running.read_what_there_is().await.unwrap();
    running.positions();
    assert_eq!((running.context.lags.now()["t-0"].records, running.context.lags.now()["t-0"].behind_ms), (0, 0));
}
