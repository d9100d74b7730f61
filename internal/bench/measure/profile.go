package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"
)

// Profile keeps a processor profile of a program for a time, from its --pprof-listen address, in Folder as NAME.cpu.pprof,
// and what it has allocated since it began as NAME.allocs.pprof. Without a Folder it does nothing. It blocks: run it beside
// the load.
func (b *Bench) Profile(ctx context.Context, name, address string, during time.Duration) error {
	if b.Folder == "" {
		return nil
	}
	for kind, path := range map[string]string{"cpu": fmt.Sprintf("profile?seconds=%d", max(1, int(during.Seconds()))), "allocs": "allocs"} {
		if err := fetch(ctx, "http://"+address+"/debug/pprof/"+path, filepath.Join(b.Folder, name+"."+kind+".pprof")); err != nil {
			return fmt.Errorf("%s profile of %s: %w", kind, name, err)
		}
	}
	return nil
}

// ProfileSelf keeps a processor profile of this program, for what a scenario does itself, until stop is called. Without a Folder
// it does nothing.
func (b *Bench) ProfileSelf(name string) (stop func() error, err error) {
	if b.Folder == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(b.Folder, name+".cpu.pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// Snapshot keeps what a program shows of itself now, such as "heap" or "goroutine", in Folder as NAME.KIND.pprof. Without a
// Folder it does nothing.
func (b *Bench) Snapshot(ctx context.Context, name, address, kind string) error {
	if b.Folder == "" {
		return nil
	}
	if err := fetch(ctx, "http://"+address+"/debug/pprof/"+kind, filepath.Join(b.Folder, name+"."+kind+".pprof")); err != nil {
		return fmt.Errorf("%s profile of %s: %w", kind, name, err)
	}
	return nil
}

// fetch keeps what a program shows of itself in a file.
func fetch(ctx context.Context, url, path string) error {
	shown, err := Show(ctx, url)
	if err != nil {
		return err
	}
	return os.WriteFile(path, shown, 0o644)
}

// Show is what a program shows of itself at an address.
func Show(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // a connection that is kept would be counted next time
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return text, err
}
