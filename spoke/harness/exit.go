package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// maxExit bounds an exit file that is written in place: more of it nobody reads.
const maxExit = 4096

// exitFile is where the runtime reads how the harness ended, and whether a turn had begun when nothing was written at the end.
type exitFile struct {
	path    string // empty: nobody reads it
	inPlace bool   // it cannot be replaced, and no file may be beside it
}

// began leaves the trace of a turn: from here on an end is no failed start.
func (f exitFile) began() error {
	switch {
	case f.path == "":
		return nil
	case f.inPlace:
		return f.ended(&harnessv1.Exit{Reason: "killed", Turn: true})
	}
	if err := os.WriteFile(f.path+".turn", nil, 0o600); err != nil {
		return fmt.Errorf("leave the trace of a turn: %w", err)
	}
	return nil
}

// ended says how the harness ended. A file that is not written in place is replaced at once, so that a reader sees all of it or
// nothing.
func (f exitFile) ended(e *harnessv1.Exit) error {
	if f.path == "" {
		return nil
	}
	if f.inPlace {
		return f.overwrite(e)
	}
	text, err := protojson.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode the exit: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(f.path), ".exit")
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return fmt.Errorf("write the exit file: %w", err)
	}
	return os.Rename(tmp, f.path)
}

// overwrite writes over what the file holds. A longer text of before is covered by spaces before it is cut off, so that the file
// can be read if the harness dies in between.
func (f exitFile) overwrite(e *harnessv1.Exit) error {
	text, err := shortExit(e)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY, 0) // one of another user in a shared directory may be written, but not made
	if errors.Is(err, fs.ErrNotExist) {
		file, err = os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the exit file: %w", err)
	}
	defer file.Close()
	size := len(text)
	if fi, err := file.Stat(); err == nil && fi.Size() > int64(size) && fi.Size() <= maxExit {
		text = append(text, strings.Repeat(" ", int(fi.Size())-size)...)
	}
	if _, err := file.WriteAt(text, 0); err != nil {
		return fmt.Errorf("write the exit file: %w", err)
	}
	if err := file.Truncate(int64(size)); err != nil {
		return fmt.Errorf("write the exit file: %w", err)
	}
	return nil
}

// shortExit encodes an exit within maxExit bytes; of a long reason the beginning and the end are kept, which has the last lines.
func shortExit(e *harnessv1.Exit) ([]byte, error) {
	reason := strings.ToValidUTF8(e.Reason, "�")
	short := &harnessv1.Exit{Reason: reason, Failure: e.Failure, Turn: e.Turn}
	for keep := len(reason); ; keep = keep * 3 / 4 { // an escaped character takes up to six bytes
		if keep < len(reason) {
			short.Reason = strings.ToValidUTF8(reason[:keep/3], "") + " … " + strings.ToValidUTF8(reason[len(reason)-keep*2/3:], "")
		}
		text, err := protojson.Marshal(short)
		if err != nil {
			return nil, fmt.Errorf("encode the exit: %w", err)
		}
		if len(text) <= maxExit {
			return text, nil
		}
	}
}
