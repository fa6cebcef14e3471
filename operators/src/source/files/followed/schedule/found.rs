//! Schedules that went wrong once.

use super::{Step::*, run};

#[test]
fn a_file_that_was_complete_and_has_grown_while_nobody_looked() {
    run(&[Start(1), Append(4, 1), Unmount(1), Read, Mount, Append(4, 1), Stop, Start(1), Read, Stop]);
}

#[test]
fn a_copy_is_not_taken_for_that_of_an_emptied_log_with_the_same_first_line() {
    run(&[
        Append(0, 1),
        Append(0, 1),
        Append(3, 1),
        CopyTruncate(0, false),
        Start(1),
        Empty(0),
        CopyTruncate(3, true),
        Start(1),
        Half(0),
        Half(0),
    ]);
}

#[test]
fn a_moved_file_is_known_although_its_number_is_another_ones() {
    run(&[
        Append(4, 1),
        Start(1),
        Unmount(1),
        Twin(0, 1),
        Stop,
        Mount,
        MoveToDisk(4, 0),
        Append(2, 1),
        Append(0, 1),
        LateAppend(0),
    ]);
}

#[test]
fn a_log_of_nothing_but_its_banner_that_is_gone_as_soon_as_it_has_grown() {
    run(&[
        Append(4, 1),
        Start(1),
        Append(2, 1),
        WriteAnew(2, 0),
        Append(0, 1),
        Replace(0, 0),
        CopyTruncate(4, true),
        Twin(0, 1),
        Append(4, 1),
        Delete(4),
    ]);
}

#[test]
fn a_moved_file_has_the_number_of_one_that_was_removed_while_nobody_looked() {
    run(&[
        Append(3, 1),
        CopyTruncate(3, true),
        Start(1),
        Append(4, 1),
        RemoveOld(0),
        Stop,
        Half(4),
        MoveToDisk(4, 2),
        Unmount(1),
        Append(0, 1),
    ]);
}

#[test]
fn a_copy_has_the_number_of_a_removed_file_of_which_only_the_first_line_was_read() {
    run(&[
        Append(4, 1),
        CopyTruncate(4, false),
        Start(1),
        Delete(4),
        Append(4, 1),
        Delete(0),
        CopyTruncate(4, true),
        Read,
        LateAppend(0),
    ]);
}

#[test]
fn a_replaced_file_has_the_number_of_one_that_was_gone_before_anything_of_it_was_read() {
    run(&[
        Append(2, 1),
        Append(4, 1),
        Rename(2),
        Start(1),
        Snapshot,
        RemoveOld(0),
        Kill,
        Start(1),
        Twin(0, 1),
        Snapshot,
        Replace(4, 0),
    ]);
}

#[test]
fn a_copy_of_one_log_is_not_where_another_has_gone_of_which_nothing_was_read() {
    run(&[
        Append(0, 1),
        Start(1),
        Read,
        Append(2, 1),
        Snapshot,
        CopyTruncate(0, true),
        Stop,
        Start(1),
        Stop,
        MoveOut(2),
        LateAppend(0),
    ]);
}

#[test]
fn what_is_back_with_its_disk_is_not_where_another_log_of_it_has_gone() {
    run(&[
        Append(3, 1),
        CopyTruncate(3, true),
        Start(1),
        MoveOut(3),
        Stop,
        Unmount(2),
        Append(0, 1),
        Append(0, 1),
        Start(1),
        Append(0, 1),
    ]);
}
