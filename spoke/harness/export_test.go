package harness

// PodWith is [Pod] with another patience for refusals.
var PodWith = pod
