import { applyFieldOverrides, cacheFieldDisplayNames, getPanelOptionsWithDefaults, standardTransformersRegistry, transformDataFrame } from '@grafana/data';
import { lastValueFrom } from 'rxjs';
import { toFrames } from './frames.js';
import { runTarget } from './prometheus.js';

/** Runs a panel's queries and does everything to their answers that Grafana does before it draws. */
export async function loadPanel(panel, type, context) {
  const { theme, timeZone, variables } = context;
  const targets = (panel.targets ?? []).filter((target) => !target.hide && target.expr);
  const run = (target) => runTarget(target, { ...context, panel, interpolatePromQL: variables.interpolatePromQL });
  const answers = (await Promise.all(targets.map(run))).flat();
  const frames = await transform(panel.transformations ?? [], toFrames(answers), variables.interpolate);
  const { options, fieldConfig } = getPanelOptionsWithDefaults({
    plugin: type.plugin,
    currentOptions: panel.options,
    currentFieldConfig: structuredClone(panel.fieldConfig ?? { defaults: {}, overrides: [] }),
    isAfterPluginChange: false,
  });
  const series = applyFieldOverrides({
    data: frames, fieldConfig, fieldConfigRegistry: type.plugin.fieldConfigRegistry, replaceVariables: variables.interpolate, theme, timeZone,
  });
  cacheFieldDisplayNames(series);
  const queries = answers.map((answer) => ({ refId: answer.target.refId, expr: answer.expr, step: answer.stepMs / 1000, series: answer.series.length }));
  const data = { series, options, fieldConfig, theme, timeZone, queries };
  return { ...data, values: type.values?.(data, context), timeline: type.timeline?.(data, context), extra: await type.load?.(data, context) };
}

async function transform(list, frames, interpolate) {
  const unknown = list.find(({ id, disabled }) => !disabled && !standardTransformersRegistry.getIfExists(id));
  if (unknown) throw new Error(`the transformation "${unknown.id}" is not supported`);
  // Some of Grafana's transformers change the options they are given.
  return lastValueFrom(transformDataFrame(structuredClone(list), frames, { interpolate }));
}
