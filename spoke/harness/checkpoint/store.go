package checkpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nave-dev/nave/api"
)

// Config of a [Store].
type Config struct {
	// Dir is the directory of the store. It is made when it is missing. One process at a time has it open.
	Dir string
	// Limits bound a checkpoint. The zero value means the defaults.
	Limits Limits
	// Log gets what was found damaged. Nil: nothing is logged.
	Log *slog.Logger

	disk disk             // nil: the machine's
	now  func() time.Time // nil: time.Now
	boot string           // names this start of the machine; empty: what the machine says
}

// Store keeps checkpoints of one session in a directory beside its state: chunks in local packs, manifests, a cache of what
// the files looked like, and the marker. It is safe for concurrent use; [Store.Take], [Store.Restore] and [Store.Collect] wait
// for each other.
type Store struct {
	dir       string
	packs     string // directory
	manifests string // directory
	limits    Limits
	log       *slog.Logger
	disk      disk
	now       func() time.Time
	boot      string
	lock      *os.File

	op sync.Mutex // one operation that changes packs

	mu    sync.Mutex
	index map[sum]place
	sizes map[uint32]int64 // sealed local packs
	next  uint32
	open  *os.File // the local pack that was read last
	seq   uint32   // of it
}

// Open opens a store and leaves out what a crash left unfinished. CodeInUse when another process has it open.
func Open(c Config) (*Store, error) {
	c.Limits = c.Limits.withDefaults()
	if err := c.Limits.validate(); err != nil {
		return nil, err
	}
	if c.Dir == "" {
		return nil, api.Invalid("dir", "it is empty; name the directory of the session's chunks")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.disk == nil {
		c.disk = osDisk{}
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.boot == "" {
		c.boot = bootID()
	}
	s := &Store{dir: c.Dir, packs: filepath.Join(c.Dir, "packs"), manifests: filepath.Join(c.Dir, "manifests"), limits: c.Limits, log: c.Log, disk: c.disk, now: c.now, boot: c.boot,
		index: make(map[sum]place), sizes: make(map[uint32]int64)}
	for _, dir := range []string{s.packs, s.manifests} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make checkpoint store: %w", err)
		}
	}
	if _, err := os.Lstat(s.lockPath()); err != nil { // it was made after the directories were durable
		if err := s.disk.SyncDir(s.dir); err != nil {
			return nil, fmt.Errorf("make checkpoint store: %w", err)
		}
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) lockPath() string { return filepath.Join(s.dir, "lock") }

func (s *Store) takeLock() error {
	f, err := os.OpenFile(s.lockPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open lock of checkpoint store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return api.Errorf(api.CodeInUse, "open checkpoint store: %s is open in another process: an earlier attempt still runs", s.dir)
		}
		return fmt.Errorf("lock checkpoint store: %w", err)
	}
	s.lock = f
	return nil
}

// Close lets another process open the store.
func (s *Store) Close() error {
	s.op.Lock()
	defer s.op.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		s.open.Close()
		s.open = nil
	}
	return s.lock.Close()
}

// load reads the rows of all local packs. Of a chunk that is there twice the later one counts: it came in the place of one
// that was damaged.
func (s *Store) load() error {
	for _, dir := range []string{s.dir, s.packs, s.manifests} {
		if err := s.sweep(dir); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.packs)
	if err != nil {
		return fmt.Errorf("read checkpoint store: %w", err)
	}
	for _, e := range entries { // ascending, as the names are
		seq, ok := packSeq(e.Name())
		if !ok {
			continue
		}
		s.next = seq + 1
		size, err := readPack(filepath.Join(s.packs, e.Name()), seq, s.put)
		if err != nil {
			// Its chunks are missing now: they are read again from the files, or fetched.
			s.log.Warn("local pack is damaged and left out", "pack", e.Name(), "error", err)
			if err := s.disk.Remove(filepath.Join(s.packs, e.Name())); err != nil {
				return fmt.Errorf("remove damaged pack: %w", err)
			}
			continue
		}
		s.sizes[seq] = size
	}
	return nil
}

// sweep removes files that were not finished.
func (s *Store) sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read checkpoint store: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".new") {
			if err := s.disk.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove unfinished file: %w", err)
			}
		}
	}
	return nil
}

// Load returns a checkpoint's manifest from the store, verified. CodeNotFound when it is not there or damaged.
func (s *Store) Load(id api.CheckpointID) (*Manifest, error) {
	if !id.Valid() {
		return nil, api.Invalid("checkpoint", "%q is no checkpoint's id", id)
	}
	raw, err := os.ReadFile(filepath.Join(s.manifests, string(id)))
	if errors.Is(err, os.ErrNotExist) {
		return nil, api.Errorf(api.CodeNotFound, "checkpoint %.16s is not in this store", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if idOf(raw) != id {
		s.log.Warn("local manifest is damaged", "checkpoint", id)
		return nil, api.Errorf(api.CodeNotFound, "checkpoint %.16s: its manifest in this store is damaged", id)
	}
	return Parse(raw)
}

// keep writes a manifest into the store, durable.
func (s *Store) keep(m *Manifest) error {
	if err := s.write(filepath.Join(s.manifests, string(m.id)), m.raw); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// write makes a small file durable: after a crash it is the former one or this one.
func (s *Store) write(path string, content []byte) error {
	if err := s.replace(path, content, file.Sync); err != nil {
		return err
	}
	return s.disk.SyncDir(filepath.Dir(path))
}

// replace puts a small file in its place when all of it is written. sync comes before.
func (s *Store) replace(path string, content []byte, sync func(file) error) error {
	f, err := s.disk.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.disk.Rename(path+".new", path)
}

func (s *Store) nextPack() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

func (s *Store) sealed(seq uint32, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes[seq] = size
}

func (s *Store) put(id sum, p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index[id] = p
}

func (s *Store) find(id sum) (place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.index[id]
	return p, ok
}

func (s *Store) drop(id sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.index, id)
}

// dropIn forgets a chunk if the index says that it lies in this local pack.
func (s *Store) dropIn(id sum, seq uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.index[id]; ok && p.pack == seq {
		delete(s.index, id)
	}
}

// has tells whether all chunks are in the store. It does not read them.
func (s *Store) has(ids []sum) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(ids, func(id sum) bool { _, ok := s.index[id]; return !ok })
}

// errMissing: a chunk is not in the store.
var errMissing = errors.New("it is not in this store")

// stored reads the stored form of a chunk into buf, which has room for it. It is not verified.
func (s *Store) stored(id sum, buf []byte) ([]byte, place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.index[id]
	if !ok {
		return nil, p, errMissing
	}
	if s.open == nil || s.seq != p.pack {
		f, err := os.Open(filepath.Join(s.packs, packName(p.pack)))
		if err != nil {
			return nil, p, fmt.Errorf("open local pack: %w", err)
		}
		if s.open != nil {
			s.open.Close()
		}
		s.open, s.seq = f, p.pack
	}
	b := buf[:p.stored]
	if _, err := s.open.ReadAt(b, p.offset); err != nil {
		return nil, p, fmt.Errorf("read local pack: %w", err)
	}
	return b, p, nil
}
