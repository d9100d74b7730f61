package harness

// PodWith is [Pod] with another patience for refusals, and another folder of its control group.
var PodWith = pod

// Pure functions of text.
var (
	KillsIn   = killsIn
	LimitIn   = limitIn
	LastOf    = lastOf
	ShortExit = shortExit
)
