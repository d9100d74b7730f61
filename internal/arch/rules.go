package arch

// Rule is one rule of the house.
type Rule struct {
	Name  string
	Check func(Tree) []Violation
}

// Rules are all rules, in the order in which they are reported.
var Rules = []Rule{
	{"imports", Imports},
	{"programs", Programs},
	{"pure", Pure},
	{"goroutines", Goroutines},
	{"skips", Skips},
	{"sleeps", Sleeps},
	{"sizes", Sizes},
	{"docs", Docs},
	{"names", Names},
	{"links", Links},
	{"clients", Clients},
	{"fuzzing", Fuzzing},
}
