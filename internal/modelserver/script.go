package modelserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Answer is what the model says next. The zero value says nothing and is refused.
type Answer struct {
	Text  []string      // in pieces, as they are streamed
	Calls []Call        // after the text
	Pause time.Duration // between the pieces of a stream; default none

	Endless bool // after the text the stream goes on with numbered words, until the client leaves
	Hang    bool // nothing is answered, until the client leaves

	Status int    // an HTTP error instead, 400 to 599
	Error  string // its message
}

// Script decides what the model says. It is a pure function: the same conversation has the same answer.
type Script func(Conversation) Answer

// Rule is one line of a script.
type Rule struct {
	When func(Conversation) bool
	Then func(Conversation) Answer
}

// Rules is the script in which the first rule that fits counts. When none fits, the answer is an error.
func Rules(rules ...Rule) Script {
	return func(c Conversation) Answer {
		for _, r := range rules {
			if r.When(c) {
				return r.Then(c)
			}
		}
		return Answer{Status: 501, Error: fmt.Sprintf("the script has no rule for this conversation; its last message, of the %s, is %.300q", c.Last().Role, c.Last().Text)}
	}
}

// Asked holds when the user spoke last, and what they said has the text in it.
func Asked(text string) func(Conversation) bool {
	return func(c Conversation) bool { return c.Last().Role == User && strings.Contains(c.Last().Text, text) }
}

// After holds when a call of the tool was answered last.
func After(tool string) func(Conversation) bool {
	return func(c Conversation) bool {
		return slices.ContainsFunc(c.Last().Results, func(r Result) bool { return r.Tool == tool })
	}
}

// NoTools holds when no tool is offered: agents ask so for a title or a summary.
func NoTools(c Conversation) bool { return len(c.Tools) == 0 }

// All holds when each condition does.
func All(conditions ...func(Conversation) bool) func(Conversation) bool {
	return func(c Conversation) bool {
		return !slices.ContainsFunc(conditions, func(when func(Conversation) bool) bool { return !when(c) })
	}
}

// Say answers with text, streamed in these pieces.
func Say(pieces ...string) func(Conversation) Answer {
	return func(Conversation) Answer { return Answer{Text: pieces} }
}

// Use calls a tool. The arguments are encoded as JSON; what cannot be is a mistake of the script's author.
func Use(tool string, args map[string]any) func(Conversation) Answer {
	b, err := json.Marshal(args)
	if err != nil {
		panic(fmt.Sprintf("modelserver: arguments of %s: %v", tool, err))
	}
	return func(Conversation) Answer { return Answer{Calls: []Call{{Tool: tool, Args: b}}} }
}

// Tell answers with what the last results say, behind a few words.
func Tell(words string) func(Conversation) Answer {
	return func(c Conversation) Answer {
		var texts []string
		for _, r := range c.Last().Results {
			texts = append(texts, r.Text)
		}
		return Answer{Text: []string{words, joined(texts)}}
	}
}

// Unknown is what Recall answers when the conversation does not say it.
const Unknown = "I do not know."

// Recall answers, behind a few words, with what the user said before: the text between two marks in a message of theirs
// that is not the last one.
func Recall(words, from, to string) func(Conversation) Answer {
	return func(c Conversation) Answer {
		for _, m := range c.Messages[:max(0, c.last())] {
			if m.Role != User {
				continue
			}
			if _, behind, ok := strings.Cut(m.Text, from); ok {
				if fact, _, ok := strings.Cut(behind, to); ok {
					return Answer{Text: []string{words, fact}}
				}
			}
		}
		return Answer{Text: []string{Unknown}}
	}
}

// check completes an answer: calls get ids that the conversation does not have, whatever the script left out is an error.
func (a Answer) check(c Conversation) Answer {
	switch {
	case a.Status != 0 && (a.Status < 400 || a.Status > 599):
		return Answer{Status: 500, Error: fmt.Sprintf("the script answers with the status %d, which is no error", a.Status)}
	case a.Status != 0 || a.Hang:
		return a
	case len(a.Text) == 0 && len(a.Calls) == 0 && !a.Endless:
		return Answer{Status: 500, Error: "the script's answer is empty"}
	}
	a.Calls = slices.Clone(a.Calls)
	for i := range a.Calls {
		call := &a.Calls[i]
		if !c.Offers(call.Tool) {
			return Answer{Status: 500, Error: fmt.Sprintf("the script calls %q, which is not offered; offered are %q", call.Tool, c.Tools)}
		}
		call.ID = fmt.Sprintf("call_%d", c.calls()+i+1)
	}
	return a
}
