// What a panel shows, as data that a test can read.
import { colorManipulator, dateTimeFormat, formattedValueToString, getFieldDisplayName, getFrameDisplayName } from '@grafana/data';

const ROWS = 20;

export function describeAnnotation({ name, marks, error }) {
  const iso = (time) => new Date(time).toISOString();
  return { name, marks: marks.map((mark) => ({ ...mark, time: iso(mark.time), timeEnd: iso(mark.timeEnd) })), ...(error && { error }) };
}

export function describePanel(panel, title, type, data, error) {
  const head = { id: panel.id, title, type: panel.type };
  if (!data) return { ...head, empty: true, ...(error && { error }) };
  const { series, values, timeline, extra } = data;
  return {
    ...head,
    empty: !extra && !series.some((frame) => frame.fields.some((field) => field.type !== 'time' && field.values.some((value) => value !== null && value !== undefined))),
    ...(error && { error }),
    queries: data.queries,
    ...(values && { values: values.map((value) => describeValue(value, type, data)) }),
    ...(timeline && { timeline: timeline.map((row) => describeRow(row, data)) }),
    frames: series.map((frame) => describeFrame(frame, series, type, data)),
    ...(extra && { content: extra }),
  };
}

function describeValue(value, type, data) {
  const color = type.valueColor?.(value, data) ?? value.display.color;
  return { title: value.display.title, text: formattedValueToString(value.display), ...colored(color, data) };
}

function describeRow({ name, periods }, data) {
  const iso = (time) => new Date(time).toISOString();
  return { name, periods: periods.map(({ start, end, shown }) => ({ from: iso(start), to: iso(end), text: formattedValueToString(shown), ...colored(shown.color, data) })) };
}

function describeFrame(frame, series, type, data) {
  const fields = frame.fields.filter((field) => !field.config.custom?.hideFrom?.viz && !field.config.custom?.hidden);
  const order = type.rowOrder?.(frame, data) ?? Array.from({ length: frame.length }, (_, row) => row);
  return {
    name: getFrameDisplayName(frame),
    refId: frame.refId,
    rows: frame.length,
    columns: fields.map((field) => ({ name: getFieldDisplayName(field, frame, series), type: field.type, ...colored(type.fieldColor?.(field, data), data) })),
    cells: order.slice(0, ROWS).map((row) => fields.map((field) => describeCell(field, row, type, data))),
  };
}

function describeCell(field, row, type, data) {
  const value = field.values[row];
  if (field.type === 'time') return { text: dateTimeFormat(value, { timeZone: data.timeZone }) };
  const shown = field.display(value);
  const link = type.cellLinks && field.getLinks?.({ valueRowIndex: row })[0];
  return { text: formattedValueToString(shown), ...colored(type.cellColor?.(field, shown, value, data), data), ...(link && { link: link.href }) };
}

const colored = (color, { theme }) => (color ? { color: hex(color, theme), hue: hueOf(hex(color, theme)) } : {});
const hex = (color, theme) => colorManipulator.asHexString(theme.visualization.getColorByName(color)).slice(0, 7).toLowerCase();

/** red, orange, yellow, green, blue, purple or grey, so that a test need not know Grafana's palette. */
export function hueOf(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  const max = Math.max(red, green, blue);
  const delta = max - Math.min(red, green, blue);
  if (delta < 0.12) return 'grey';
  const sector = max === red ? (green - blue) / delta : max === green ? 2 + (blue - red) / delta : 4 + (red - green) / delta;
  const degrees = (sector * 60 + 360) % 360;
  return [[15, 'red'], [45, 'orange'], [70, 'yellow'], [170, 'green'], [260, 'blue'], [340, 'purple'], [361, 'red']].find(([end]) => degrees < end)[1];
}
