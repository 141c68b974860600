import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Files that take minutes begin before all others that run beside them. By default a project's place is that of its
 * name, and the only file of `slow` ran by itself, with a core idle, when all of the others were through.
 */
export default class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isSlow = ({ moduleId }: TestSpecification) => moduleId.endsWith('.slow.spec.ts');
    const groupOf = ({ project }: TestSpecification) => project.config.sequence.groupOrder;
    return sorted.toSorted((a, b) => groupOf(a) - groupOf(b) || Number(isSlow(b)) - Number(isSlow(a)));
  }
}
