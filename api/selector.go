package api

import "strings"

// maxSelectorBytes bounds the text of a selector.
const maxSelectorBytes = 4 << 10

// ParseSelector reads a label selector as kubectl does: requirements separated by commas, each one of
//
//	a=b  a==b  a!=b  a in (b,c)  a notin (b,c)  a  !a
//
// "a!=b" and "notin" match also where the label is missing. The empty text selects everything and yields nil. An error is
// CodeInvalid for the field "selector".
func ParseSelector(s string) ([]Requirement, error) {
	if len(s) > maxSelectorBytes {
		return nil, Invalid("selector", "%d bytes: at most %d are allowed", len(s), maxSelectorBytes)
	}
	p := selectorParser{tokens: selectorTokens(s)}
	var out []Requirement
	for p.peek() != "" {
		r, err := p.requirement()
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		if len(out) > MaxListItems {
			return nil, Invalid("selector", "more than %d requirements: at most %d are allowed", MaxListItems, MaxListItems)
		}
		switch t := p.next(); t {
		case "":
			return out, nil
		case ",":
			if p.peek() == "" {
				return nil, Invalid("selector", "ends with a comma: give another requirement or remove it")
			}
		default:
			return nil, Invalid("selector", "%.40q after a requirement: want a comma or the end", t)
		}
	}
	return out, nil
}

// selectorParser reads tokens; the empty token is the end.
type selectorParser struct {
	tokens []string
	at     int
}

func (p *selectorParser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

func (p *selectorParser) next() string {
	t := p.peek()
	p.at++
	return t
}

func (p *selectorParser) requirement() (Requirement, error) {
	r := Requirement{Operator: OpExists}
	r.Key = p.next()
	if r.Key == "!" {
		r.Operator, r.Key = OpDoesNotExist, p.next()
	}
	if isSelectorSymbol(r.Key) {
		return r, Invalid("selector", "%.40q: want a label key", r.Key)
	}
	if err := validateLabelKey("selector", r.Key); err != nil {
		return r, err
	}
	if next := p.peek(); r.Operator == OpDoesNotExist || next == "" || next == "," {
		return r, nil
	}
	switch op := p.next(); op {
	case "=", "==":
		r.Operator = OpIn
	case "!=":
		r.Operator = OpNotIn
	case "in":
		r.Operator = OpIn
		return r, p.set(&r)
	case "notin":
		r.Operator = OpNotIn
		return r, p.set(&r)
	default:
		return r, Invalid("selector", "%.40q after key %.70q: want =, ==, !=, in, notin, a comma or the end", op, r.Key)
	}
	v := ""
	if next := p.peek(); next != "" && next != "," {
		v = p.next()
	}
	return r, p.value(&r, v)
}

// set reads "(a,b,c)"; an empty place between commas is the empty value.
func (p *selectorParser) set(r *Requirement) error {
	if t := p.next(); t != "(" {
		return Invalid("selector", "%.40q after in or notin: want values in parentheses", t)
	}
	for {
		v := ""
		if t := p.peek(); t != "," && t != ")" {
			v = p.next()
		}
		if err := p.value(r, v); err != nil {
			return err
		}
		if len(r.Values) > MaxListItems {
			return Invalid("selector", "more than %d values for key %.70q: at most %d are allowed", MaxListItems, r.Key, MaxListItems)
		}
		switch t := p.next(); t {
		case ")":
			return nil
		case ",":
		default:
			return Invalid("selector", "%.40q among the values of key %.70q: want a comma or a closing parenthesis", t, r.Key)
		}
	}
}

func (p *selectorParser) value(r *Requirement, v string) error {
	if v != "" && isSelectorSymbol(v) {
		return Invalid("selector", "%.40q after key %.70q: want a value", v, r.Key)
	}
	r.Values = append(r.Values, v)
	return validateLabelValue("selector", v)
}

func isSelectorSymbol(t string) bool {
	return t == "" || strings.ContainsRune(selectorSymbols, rune(t[0]))
}

const (
	selectorSymbols = "=!(),<>"
	selectorSpace   = " \t\r\n"
)

// selectorTokens splits the text into words and symbols; "==" and "!=" are one symbol each.
func selectorTokens(s string) []string {
	var out []string
	for {
		s = strings.TrimLeft(s, selectorSpace)
		if s == "" {
			return out
		}
		n := strings.IndexAny(s, selectorSymbols+selectorSpace)
		switch {
		case n < 0:
			n = len(s)
		case n == 0 && (strings.HasPrefix(s, "==") || strings.HasPrefix(s, "!=")):
			n = 2
		case n == 0:
			n = 1
		}
		out = append(out, s[:n])
		s = s[n:]
	}
}
