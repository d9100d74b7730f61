package hub

import (
	"fmt"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// This file puts mutations and effects into words.

func (tr *transcript) mutation(indent string, m Mutation) {
	switch {
	case m.PutSession != nil:
		s := m.PutSession
		at := "unassigned"
		if a := s.Assignment; a != nil {
			at = fmt.Sprintf("%s@%s", a.Cluster, a.Epoch)
			if a.Releasing {
				at += " releasing"
			}
		}
		if s.Intent != api.IntentActive {
			at = string(s.Intent) + ", " + at
		}
		if n := len(s.Checkpoints); n > 0 {
			at += fmt.Sprintf(", %d checkpoints up to %s", n, short(s.Checkpoint()))
		}
		if s.Cancelled.UpTo > 0 {
			at += fmt.Sprintf(", cancelled up to %d", s.Cancelled.UpTo)
		}
		if s.StartFailures > 0 {
			at += fmt.Sprintf(", %d failed starts", s.StartFailures)
		}
		tr.say("%sput session %s: %s, %s%s", indent, tr.name(s.ID), s.Phase, at, because(s.Reason))
	case m.PutSignal != nil:
		what := ""
		if m.PutSignal.Reported > 0 {
			what = fmt.Sprintf(", reported as hub/%d", m.PutSignal.Reported)
		}
		if m.PutSignal.Consumed() {
			what += fmt.Sprintf(", consumed by %s/%d", m.PutSignal.ConsumedBy, m.PutSignal.ConsumedNumber)
		}
		if m.PutSignal.Approval != "" {
			what += fmt.Sprintf(", the answer to %s from %s: %s", tr.labels[m.PutSignal.Approval], m.PutSignal.Sender, m.PutSignal.Payload)
		}
		tr.say("%sput signal %s/%d: %d failed deliveries%s", indent, tr.name(m.PutSignal.Session), m.PutSignal.Sequence, m.PutSignal.Deliveries, what)
	case m.DeleteSignal != nil:
		tr.say("%sdelete signal %s/%d", indent, tr.name(m.DeleteSignal.Session), m.DeleteSignal.Sequence)
	case m.PutOutbox != nil:
		tr.say("%sput event %s/hub/%d: %s", indent, tr.name(m.PutOutbox.Event.Session), m.PutOutbox.Event.SourceNumber, m.PutOutbox.Event.Type)
	case m.DeleteOutbox != nil:
		tr.say("%sdelete event %s/hub/%d", indent, tr.name(m.DeleteOutbox.Session), m.DeleteOutbox.Number)
	case m.PutApproval != nil:
		tr.say("%sput approval %s: %s", indent, tr.labels[m.PutApproval.ID], tr.about(m.PutApproval))
	case m.DeleteApproval != "":
		tr.say("%sdelete approval %s", indent, tr.labels[m.DeleteApproval])
	case m.DeleteSession != "":
		tr.say("%sdelete session %s", indent, tr.name(m.DeleteSession))
	}
}

// about is an approval in a few words.
func (tr *transcript) about(a *api.Approval) string {
	out := fmt.Sprintf("%s, asked by %s", a.State, a.Source)
	if a.By != "" {
		out += fmt.Sprintf(", %q by %s", a.Option, a.By)
	}
	for _, f := range []struct {
		is   bool
		word string
	}{{a.Taken, "taken"}, {a.Detached, "detached"}, {a.Moot, "moot"}, {a.Signal != "", "with a signal"}} {
		if f.is {
			out += ", " + f.word
		}
	}
	return out + because(a.Reason)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func short(c api.CheckpointID) string {
	if c == "" {
		return "none"
	}
	return "c" + strings.TrimLeft(string(c), "0")
}

func (tr *transcript) effects(o output) {
	for _, e := range o.effects {
		tr.effect(e)
	}
}

func (tr *transcript) effect(e effect) {
	switch e := e.(type) {
	case effReply:
		if e.reply.err != nil {
			tr.say("then refuse: %s", api.CodeOf(e.reply.err))
			return
		}
		a := e.reply.accepted
		tr.say("then answer: %s is %s/%d, duplicate %v", a.Signal, tr.name(a.Session), a.Sequence, a.Duplicate)
	case effAnswer:
		if e.err != nil {
			tr.say("then refuse: %s", api.CodeOf(e.err))
			return
		}
		by := "now"
		if !e.answer.EffectiveBy.IsZero() {
			by = "in " + e.answer.EffectiveBy.Sub(tr.now).Round(time.Millisecond).String()
		} else if e.answer.Waits {
			by = "when the cluster is heard"
		}
		s := e.answer.Session
		tr.say("then answer: %s %v is %s, changed %v, effective %s", tr.name(s.ID), s.Pauses, s.Intent, e.answer.Changed, by)
	case effCancelled:
		if e.err != nil {
			tr.say("then refuse: %s", api.CodeOf(e.err))
			return
		}
		tr.say("then answer: %s is cancelled up to %d, changed %v, waits %v", tr.name(e.answer.Session.ID), e.answer.UpTo, e.answer.Changed, e.answer.Waits)
	case effAnswered:
		if e.err != nil {
			tr.say("then refuse: %s: %s", api.CodeOf(e.err), e.err)
			return
		}
		tr.say("then answer: %s is %s", tr.labels[e.approval.ID], tr.about(&e.approval.Approval))
	case effPlace:
		tr.say("then place %s, last %q, refused by %d", tr.name(e.request.Session), e.request.Last, len(e.request.Refused))
	case effRevise:
		tr.say("then ask for the revision of %s", tr.name(e.request.Session))
	case effHurry:
		tr.say("hurry the archive")
	case effAppend:
		tr.appends(e.appends)
	case effSend:
		tr.say("then send to %s, full %v: %d sessions", e.cluster, e.full, len(e.sessions))
		for _, d := range e.sessions {
			var signals []string
			for _, s := range d.Signals {
				signals = append(signals, fmt.Sprintf("%d", s.Sequence))
			}
			tr.say("     %s@%s release %v, revision %v, from %s, signals [%s]", tr.name(d.Session), d.Epoch, d.Release, d.Revision != nil, short(d.Checkpoint), strings.Join(signals, " "))
			if d.Cancelled.UpTo > 0 {
				tr.say("     cancelled up to %d%s", d.Cancelled.UpTo, because(d.Cancelled.Reason))
			}
			for _, a := range d.Answers {
				tr.say("     told about %s: allow %v, option %q, by %s%s", tr.labels[a.Approval], a.Allow, a.Option, a.By, because(a.Reason))
			}
		}
	case effAck:
		tr.say("then tell %s that it may forget %s %s up to %d", e.cluster, tr.name(e.ack.Session), e.ack.Source, e.ack.UpTo)
	case effSide:
		tr.say("then find a place beside the log of %s for %d events of %s from %s", tr.name(e.batch.Session), len(e.batch.Events), e.batch.Source, e.cluster)
	case effCollect:
		var keep []string
		for _, c := range e.keep {
			keep = append(keep, short(c))
		}
		tr.say("then remove the checkpoints of %s but %v", tr.name(e.session), keep)
	case effNotify:
		tr.say("then wake readers of %s", tr.name(e.session))
	case effGap:
		tr.say("then end the link of %s: a gap", e.cluster)
	case effBehind:
		tr.say("then end the link of %s, which has seen generation %s", e.cluster, e.seen.Generation)
	case effStale:
		tr.say("then note that %s reports %s of another epoch, %s", e.cluster, tr.name(e.session), e.epoch)
	case effUnplace:
		tr.say("then free the room of %s at %s, dead %v", tr.name(e.session), e.cluster, e.dead)
	}
}

func (tr *transcript) appends(appends []Append) {
	tr.writing = appends
	for _, a := range appends {
		for _, ev := range a.Events {
			what := ""
			if ev.Attributes["forgotten"] != "" {
				what += ", forgotten " + ev.Attributes["forgotten"]
			}
			if ev.Attributes[attrDisproved] != "" {
				what += ", disproved"
			}
			tr.say("then archive %s #%d: %s from %s/%d%s", tr.name(ev.Session), ev.Number, ev.Type, ev.Source, ev.SourceNumber, what)
		}
		for _, row := range a.Settled {
			tr.say("then archive that %s/%d is %s%s", tr.name(row.Signal.Session), row.Signal.Sequence, row.Outcome, because(row.Reason))
		}
		for _, s := range a.Terminated {
			tr.say("then archive the end of %s", tr.name(s.ID))
		}
	}
}
