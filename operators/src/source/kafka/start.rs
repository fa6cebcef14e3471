//! Where partitions begin that there are at the job's first start, and where they end.

use super::{
    config::{End, KafkaConfig, Start},
    position::Position,
};
use weir_kafka::{Bounds, Cluster, Result, Topic, TopicPartition};

/// The first positions of partitions.
///
/// # Errors
/// When the brokers don't say what is needed for that.
pub(super) async fn first_positions(
    cluster: &dyn Cluster,
    config: &KafkaConfig,
    partitions: &[(TopicPartition, Topic)],
) -> Result<Vec<Position>> {
    let noted = noted_offsets(cluster, config, partitions).await?;
    let mut positions = Vec::with_capacity(partitions.len());
    for ((place, topic), noted) in partitions.iter().zip(noted) {
        // Asked for first: what comes meanwhile is read.
        let bounds = cluster.bounds(&place.topic, place.partition).await?;
        let offset = match config.start {
            Start::Earliest => bounds.beginning,
            // Records of a transaction that is open now are not decided, so they come later.
            Start::Latest => bounds.stable_end,
            Start::At(time_ms) => {
                let found = cluster.offset_at(&place.topic, place.partition, time_ms).await?;
                found.unwrap_or(bounds.stable_end)
            }
            Start::Group => noted.unwrap_or(bounds.beginning),
        };
        positions.push(ending(Position::new(&place.topic, topic, place.partition, offset), config, &bounds));
    }
    Ok(positions)
}

/// With the end that the settings say: what can be read now is read.
fn ending(position: Position, config: &KafkaConfig, bounds: &Bounds) -> Position {
    let end = config.end.map(|End::Latest| bounds.stable_end);
    Position { end, ..position }
}

/// What the consumer group has noted, if that is where partitions begin.
async fn noted_offsets(
    cluster: &dyn Cluster,
    config: &KafkaConfig,
    partitions: &[(TopicPartition, Topic)],
) -> Result<Vec<Option<i64>>> {
    let (Start::Group, Some(group)) = (config.start, &config.group) else { return Ok(vec![None; partitions.len()]) };
    let places: Vec<TopicPartition> = partitions.iter().map(|(place, _)| place.clone()).collect();
    let noted = cluster.group_offsets(group, &places).await?;
    for (place, _) in places.iter().zip(&noted).filter(|(_, noted)| noted.is_none()) {
        tracing::warn!(group, partition = %place, "the group has noted no offset of this partition: it is read from its beginning");
    }
    Ok(noted)
}
