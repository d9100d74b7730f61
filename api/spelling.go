package api

import "strings"

// What names are made of. They are told without regular expressions: compiling those takes a millisecond, which every program
// would spend when it starts, and one is started for each session.

func isLower(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isLower(c) || 'A' <= c && c <= 'Z' }

// isName tells [a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?
func isName(s string) bool { return len(s) <= 63 && spelled(s, isLower, "-") }

// isLabelPart tells [A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?
func isLabelPart(s string) bool { return len(s) <= 63 && spelled(s, isAlnum, "-_.") }

// isDNSName tells parts of [a-z0-9]([-a-z0-9]*[a-z0-9])? with dots between them.
func isDNSName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !spelled(part, isLower, "-") {
			return false
		}
	}
	return true
}

// isEnvName tells [A-Za-z_][A-Za-z0-9_]{0,127}
func isEnvName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// spelled tells at least one byte, each of a class or one of more, the first and the last one of the class.
func spelled(s string, class func(byte) bool, more string) bool {
	for i := range len(s) {
		if c := s[i]; !class(c) && (i == 0 || i == len(s)-1 || strings.IndexByte(more, c) < 0) {
			return false
		}
	}
	return s != ""
}
