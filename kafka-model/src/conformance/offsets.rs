//! Offsets by time, and of consumer groups.

use super::{Rig, rig::record};
use weir_kafka::{NewRecord, TopicPartition};

/// The first at or after a time; none behind the last.
pub async fn records_are_found_by_time(rig: &Rig) {
    let of = rig.topic("times").await;
    let mut producer = rig.cluster.producer().unwrap();
    for time in [1_000, 2_000, 3_000] {
        producer.send(NewRecord { timestamp_ms: Some(time), ..record(&of, "x") }).await.unwrap();
        producer.flush().await.unwrap();
    }
    for (time, offset) in [(0, Some(0)), (1_000, Some(0)), (1_001, Some(1)), (3_000, Some(2)), (3_001, None)] {
        assert_eq!(rig.cluster.offset_at(&of.topic, 0, time).await, Ok(offset), "at {time}");
    }
}

/// Of each partition, the last that was noted.
pub async fn a_group_keeps_its_offsets(rig: &Rig) {
    let (topic, group) = (rig.topic_with("noted", 3, &[]).await, rig.name("group"));
    let of = |partition| TopicPartition { topic: topic.clone(), partition };
    let all = [of(0), of(1), of(2)];
    let first = rig.patiently("group_offsets", async || rig.cluster.group_offsets(&group, &all).await).await;
    assert_eq!(first, [None, None, None]);
    rig.cluster.set_group_offsets(&group, &[(of(0), 5), (of(2), 7)]).await.unwrap();
    assert_eq!(rig.cluster.group_offsets(&group, &all).await, Ok(vec![Some(5), None, Some(7)]));
    rig.cluster.set_group_offsets(&group, &[(of(0), 6)]).await.unwrap();
    assert_eq!(rig.cluster.group_offsets(&group, &all).await, Ok(vec![Some(6), None, Some(7)]));
    assert_eq!(rig.cluster.group_offsets(&rig.name("group"), &all).await, Ok(vec![None, None, None]));
}
