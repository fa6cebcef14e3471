//! Topics.

use super::Rig;
use weir_kafka::{KafkaErrorKind, NewTopic};

/// Its partitions, its largest batch, an id; and it is on the list.
pub async fn a_topic_is_described(rig: &Rig) {
    let name = rig.topic_with("described", 3, &[("max.message.bytes", "20000")]).await;
    let topic = rig.cluster.describe(&name).await.unwrap().expect("it has been made");
    assert_eq!((topic.partitions, topic.max_message_bytes, topic.is_compacted), (3, 20_000, false));
    let compacted = rig.topic_with("compacted", 1, &[("cleanup.policy", "compact,delete")]).await;
    assert!(rig.cluster.describe(&compacted).await.unwrap().is_some_and(|topic| topic.is_compacted));
    assert!(topic.id.is_some_and(|id| !id.is_empty()));
    let names = rig.cluster.topics().await.unwrap();
    assert!(names.contains(&name), "{names:?}");
    assert!(names.is_sorted() && names.iter().all(|name| !name.starts_with("__")), "{names:?}");
}

/// Made once more, it stays as it is.
pub async fn a_topic_that_is_there_is_no_error(rig: &Rig) {
    let name = rig.topic_with("twice", 2, &[]).await;
    let first = rig.cluster.describe(&name).await.unwrap();
    let again = NewTopic { name: name.clone(), partitions: 5, replication: Some(1), settings: Vec::new() };
    rig.cluster.create(&again).await.unwrap();
    assert_eq!(rig.cluster.describe(&name).await.unwrap(), first);
}

/// By its id it is told from the one before.
pub async fn a_topic_made_anew_has_another_id(rig: &Rig) {
    let name = rig.topic_with("anew", 1, &[]).await;
    let first = rig.cluster.describe(&name).await.unwrap().expect("it has been made");
    (rig.delete)(name.clone()).await;
    rig.until("the topic is gone", async || rig.cluster.describe(&name).await.unwrap().is_none()).await;
    let again = NewTopic { name: name.clone(), partitions: 1, replication: Some(1), settings: Vec::new() };
    rig.cluster.create(&again).await.unwrap();
    let second = rig.cluster.describe(&name).await.unwrap().expect("it has been made again");
    assert!(second.id.is_some() && second.id != first.id, "{second:?} after {first:?}");
}

/// A topic that there is none of, and a partition.
pub async fn what_is_not_there_is_not_found(rig: &Rig) {
    assert_eq!(rig.cluster.describe("no-such-topic").await, Ok(None));
    let bounds = rig.cluster.bounds("no-such-topic", 0).await;
    assert_eq!(bounds.unwrap_err().kind, KafkaErrorKind::NotFound);
    let name = rig.topic_with("one", 1, &[]).await;
    let bounds = rig.cluster.bounds(&name, 1).await;
    assert_eq!(bounds.unwrap_err().kind, KafkaErrorKind::NotFound);
    let at = rig.cluster.offset_at(&name, 1, 0).await;
    assert_eq!(at.unwrap_err().kind, KafkaErrorKind::NotFound);
}
