// Opens files of the diff, follows links into them, and remembers which steps were ticked off. Texts of the diff become
// text nodes only.
(() => {
  'use strict';
  const main = document.querySelector('.tutorial');

  const cell = (row, name, text, number) => {
    const made = row.insertCell();
    made.className = name;
    if (number !== undefined) made.dataset.no = number;
    made.textContent = text;
  };

  // Writes out a file whose hunks wait as JSON.
  const fill = (file) => {
    const source = file.querySelector('script.hunks');
    if (!source) return;
    const table = document.createElement('table');
    for (const hunk of JSON.parse(source.textContent)) {
      const body = table.createTBody();
      body.id = hunk.id;
      const head = body.insertRow();
      head.className = 'hunk';
      const title = head.insertCell();
      title.colSpan = 4;
      title.textContent = hunk.header;
      for (const step of new Set(hunk.spans.map((span) => span[2]))) {
        const link = document.createElement('a');
        link.href = '#step-' + step;
        link.textContent = 'step ' + step;
        title.append(' ', link);
      }
      let before = hunk.old;
      let after = hunk.new;
      hunk.lines.split('\n').forEach((line, index) => {
        const marks = line.slice(0, hunk.marks);
        const kind = hunk.marks === 0 ? 'note' : marks.includes('+') ? 'add' : marks.includes('-') ? 'remove' : 'same';
        const first = marks[0] || ' ';
        const inOld = kind === 'same' || (kind === 'remove' && first === '-') || (kind === 'add' && hunk.marks > 1 && first === ' ');
        const inNew = kind === 'same' || kind === 'add';
        const row = body.insertRow();
        row.id = hunk.id + '-' + (index + 1);
        row.className = kind;
        if (hunk.spans.some((span) => span[0] <= index + 1 && index + 1 <= span[1])) row.classList.add('shown');
        cell(row, 'no', '', inOld ? before : '');
        cell(row, 'no', '', inNew ? after : '');
        cell(row, 'mark', marks.trim());
        cell(row, 'code', line.slice(hunk.marks));
        if (hunk.bare_ends.includes(index)) {
          const end = document.createElement('span');
          end.className = 'muted';
          end.textContent = ' (no newline at the end)';
          row.lastChild.append(end);
        }
        if (inOld) before += 1;
        if (inNew) after += 1;
      });
    }
    file.querySelector('.diff').replaceChildren(table);
    source.remove();
  };

  document.querySelectorAll('details.file').forEach((file) => {
    file.addEventListener('toggle', () => file.open && fill(file));
  });

  const go = (number, target) => {
    const file = document.getElementById('file-' + number);
    if (file) {
      file.open = true;
      fill(file);
    }
    document.querySelectorAll('tr.target').forEach((row) => row.classList.remove('target'));
    const place = document.getElementById(target);
    if (!place) return;
    if (place.tagName === 'TR') place.classList.add('target');
    place.scrollIntoView({ block: 'center' });
  };

  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-file]');
    if (link) setTimeout(() => go(link.dataset.file, link.hash.slice(1)));
  });

  const arrive = () => {
    const target = location.hash.slice(1);
    if (!/^[a-z0-9-]+$/.test(target) || document.getElementById(target)) return;
    const link = document.querySelector('a[data-file][href="#' + target + '"]');
    if (link) go(link.dataset.file, target);
  };
  addEventListener('hashchange', arrive);
  arrive();

  // Where nothing can be stored, ticks last as long as the page.
  const key = main ? 'pika-tutorial:' + main.dataset.key : '';
  const load = () => {
    try {
      return new Set(JSON.parse(localStorage.getItem(key) || '[]'));
    } catch {
      return new Set();
    }
  };
  const ticked = load();
  document.querySelectorAll('input.tick').forEach((box) => {
    const step = box.closest('.step');
    box.checked = ticked.has(box.dataset.step);
    step.classList.toggle('ticked', box.checked);
    box.addEventListener('change', () => {
      step.classList.toggle('ticked', box.checked);
      if (box.checked) ticked.add(box.dataset.step);
      else ticked.delete(box.dataset.step);
      try {
        localStorage.setItem(key, JSON.stringify([...ticked]));
      } catch {
        // As said above.
      }
    });
  });
})();
