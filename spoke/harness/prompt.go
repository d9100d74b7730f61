package harness

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// told is what an agent knows before a turn.
type told struct {
	fresh        bool   // the conversation is new
	instructions string // hash of those that it was told in the conversation
	lost         bool   // the state of before is lost, and it has not been told
}

// stateLost is the first line of a prompt after a loss.
const stateLost = "Your state of before could not be restored: your files and what was said in earlier conversations are gone."

// prompt makes the blocks of a turn: what the agent must know first, then one for each signal.
func prompt(w *harnessv1.Workload, signals []*harnessv1.Signal, t told) []string {
	var blocks []string
	if t.lost {
		blocks = append(blocks, stateLost)
	}
	switch hash := hashOf(w.Instructions); {
	case t.fresh && hash != "":
		blocks = append(blocks, w.Instructions)
	case !t.fresh && hash != t.instructions && hash != "":
		blocks = append(blocks, "Your instructions have changed. From now on they are:\n\n"+w.Instructions)
	case !t.fresh && hash != t.instructions:
		blocks = append(blocks, "Your former instructions do not hold any more.")
	}
	for i, s := range signals {
		text := payloadText(s)
		if len(signals) > 1 {
			from := ""
			if s.Sender != "" {
				from = " from " + s.Sender
			}
			text = fmt.Sprintf("Signal %d of %d%s\n\n%s", i+1, len(signals), from, text)
		}
		blocks = append(blocks, text)
	}
	return blocks
}

// payloadText is a signal as an agent reads it.
func payloadText(s *harnessv1.Signal) string {
	if p, ok := decodeAnswer(s); ok {
		return answerText(p)
	}
	if !utf8.Valid(s.Payload) {
		return fmt.Sprintf("The signal is not text; these are its %d bytes as base64:\n\n%s", len(s.Payload), base64.StdEncoding.EncodeToString(s.Payload))
	}
	return string(s.Payload)
}

// answerText says what was answered to a request for permission of an earlier turn.
func answerText(p carriedAnswer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Your request for permission %q was %s", p.Title, p.Decision)
	if p.By != "" {
		fmt.Fprintf(&b, " by %s", p.By)
	}
	if p.Option.Name != "" {
		fmt.Fprintf(&b, ", with %q", p.Option.Name)
	}
	b.WriteByte('.')
	if p.Reason != "" {
		fmt.Fprintf(&b, " The reason given: %s", p.Reason)
	}
	if p.Decision == approved {
		b.WriteString("\n\nGo on with what you asked it for. When you ask for the same in this turn, the answer is given at once.")
	} else {
		b.WriteString("\n\nDo not do it. Go on without it, or say what is needed instead.")
	}
	return b.String()
}
